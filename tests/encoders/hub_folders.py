"""Tiny pretrained models with random weights, laid out on disk as their publishers lay out the real ones."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

TEXT: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
WORDS = ["red", "ship", "green", "harbour", "song", "the", "a", "blue"]
PICTURES = {
    "size": {"shortest_edge": 32},
    "crop_size": {"height": 32, "width": 32},
    "do_center_crop": True,
    "resample": 3,
    "image_mean": [0.48, 0.46, 0.41],
    "image_std": [0.27, 0.26, 0.28],
}


def write_tokenizer(folder: Path, start: str, end: str, padding: str) -> dict[str, int]:
    """Write a tokenizer of a few words, and return its vocabulary."""
    entries = [start, padding, "<unk>", *WORDS, *map(chr, range(97, 123)), end]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(entries))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, vocabulary[start]), (end, vocabulary[end])]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return vocabulary


def _clip_texts(folder: Path) -> dict[str, Any]:
    vocabulary = write_tokenizer(folder, "<start>", "<end>", "<pad>")
    return {
        **TEXT,
        "vocab_size": len(vocabulary),
        "max_position_embeddings": 12,
        "bos_token_id": vocabulary["<start>"],
        "eos_token_id": vocabulary["<end>"],
        "pad_token_id": vocabulary["<pad>"],
    }


def clip(folder: Path) -> None:
    vision = {**TEXT, "image_size": 32, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=_clip_texts(folder), vision_config=vision, projection_dim=12)
    _save(transformers.CLIPModel(config), folder, PICTURES)


def xclip(folder: Path) -> None:
    vision = {
        **TEXT,
        "image_size": 32,
        "patch_size": 8,
        "num_frames": 4,
        "mit_hidden_size": 12,
        "mit_intermediate_size": 24,
        "mit_num_hidden_layers": 1,
        "mit_num_attention_heads": 2,
    }
    config = transformers.XCLIPConfig(
        text_config=_clip_texts(folder),
        vision_config=vision,
        projection_dim=12,
        prompt_layers=1,
        prompt_num_attention_heads=2,
    )
    _save(transformers.XCLIPModel(config), folder, PICTURES)


def clap(folder: Path, *, fusion: bool = False) -> None:
    vocabulary = write_tokenizer(folder, "<s>", "</s>", "<pad>")
    text = {
        **TEXT,
        "vocab_size": len(vocabulary),
        "max_position_embeddings": 14,
        "pad_token_id": 1,
        "projection_dim": 12,
    }
    audio = {
        "spec_size": 64,
        "num_mel_bins": 16,
        "window_size": 2,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "patch_embeds_hidden_size": 8,
        "hidden_size": 16,
        "projection_dim": 12,
        "enable_fusion": fusion,
        "enable_patch_fusion": fusion,
        "fusion_type": "aff_2d" if fusion else None,
    }
    config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=12)
    told = {
        "feature_size": 16,
        "sampling_rate": 4000,
        "max_length_s": 1,
        "hop_length": 20,
        "fft_window_size": 256,
        "frequency_min": 50,
        "frequency_max": 1900,
        "truncation": "fusion" if fusion else "rand_trunc",
        "padding": "repeatpad",
    }
    _save(transformers.ClapModel(config), folder, told)


WAVE: dict[str, Any] = {
    **TEXT,
    "conv_dim": [8, 8],
    "conv_kernel": [10, 4],
    "conv_stride": [5, 4],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 8,
}


def hubert(folder: Path) -> None:
    told = {"sampling_rate": 1000, "do_normalize": True}
    _save(transformers.HubertModel(transformers.HubertConfig(**WAVE)), folder, told)


def wav2vec2(folder: Path) -> None:
    told = {"sampling_rate": 1000, "do_normalize": False}
    _save(transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**WAVE)), folder, told)


def mert(folder: Path) -> None:
    """MERT as it is published: a config of its own, a pickle, weight norm under its old names."""
    model = transformers.HubertModel(transformers.HubertConfig(**WAVE, feat_proj_layer_norm=True))
    config = {
        **WAVE,
        "model_type": "mert_model",
        "architectures": ["MERTModel"],
        "auto_map": {"AutoModel": "modeling_MERT.MERTModel"},
        "attention_relax": 32.0,
        "deepnorm": False,
        "feat_proj_layer_norm": True,
        "feature_extractor_cqt": False,
        "feature_extractor_cqt_bins": 336,
        "sample_rate": 1000,
        "torch_dtype": "float32",
    }
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    state = {}
    for name, value in model.state_dict().items():
        for new, legacy in old.items():
            name = name.replace(new, legacy)
        state[name] = value
    folder.joinpath("config.json").write_text(json.dumps(config))
    folder.joinpath("preprocessor_config.json").write_text(
        json.dumps({"sampling_rate": 1000, "do_normalize": False})
    )
    torch.save(state, folder / "pytorch_model.bin")


def whisper(folder: Path) -> None:
    config = transformers.WhisperConfig(
        d_model=16,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        num_mel_bins=8,
        max_source_positions=50,  # one second
        vocab_size=16,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
    )
    _save(transformers.WhisperModel(config), folder, {})


def mobilenet(folder: Path) -> None:
    """The layers of torchvision's MobileNetV2, under its names, unfolded."""
    from encoders.image.mobilenet import MobileNetV2

    state: dict[str, torch.Tensor] = {}
    for name, kernel in MobileNetV2().state_dict().items():
        if name.endswith(".weight"):
            parts = name.removesuffix(".weight").split(".")  # features.1 or features.1.0
            outputs = len(kernel)
            if len(parts) == 2:
                convolution, norm = f"features.{parts[1]}.0", f"features.{parts[1]}.1"
            elif kernel.shape[1] == 1 or int(parts[2]) == 0:
                base = f"features.{parts[1]}.conv.{parts[2]}"
                convolution, norm = f"{base}.0", f"{base}.1"
            else:
                base = f"features.{parts[1]}.conv"
                convolution, norm = f"{base}.{parts[2]}", f"{base}.{int(parts[2]) + 1}"
            state[f"{convolution}.weight"] = torch.randn_like(kernel) / kernel[0].numel() ** 0.5
            state[f"{norm}.weight"] = torch.rand(outputs) + 0.5
            state[f"{norm}.bias"] = torch.randn(outputs) * 0.1
            state[f"{norm}.running_mean"] = torch.randn(outputs) * 0.1
            state[f"{norm}.running_var"] = torch.rand(outputs) + 0.5
    save_file(state, folder / "model.safetensors")
    folder.joinpath("config.json").write_text('{"model_type": "torchvision_mobilenet_v2"}')
    folder.joinpath("preprocessor_config.json").write_text(json.dumps(PICTURES))


def _save(model: Any, folder: Path, told: dict[str, Any]) -> None:
    from encoders.pretrained.opening import quiet

    for parameter in model.parameters():  # the default weights are so small that all vectors are alike
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    with quiet():
        model.save_pretrained(folder)
    if told:
        folder.joinpath("preprocessor_config.json").write_text(json.dumps(told))


FAMILIES: dict[str, Callable[[Path], None]] = {
    "clip": clip,
    "xclip": xclip,
    "clap": clap,
    "clap with fusion": partial(clap, fusion=True),
    "hubert": hubert,
    "mert": mert,
    "wav2vec2": wav2vec2,
    "whisper": whisper,
    "mobilenet": mobilenet,
}


def reference(model_class: Any, folder: Path) -> Any:
    """Open a model as transformers does, to compare with."""
    return model_class.from_pretrained(folder).eval()
