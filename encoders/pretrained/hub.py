"""Where a pretrained model comes from: a local folder, or the hub of Hugging Face."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from encoders.extras import require
from retrieval.errors import BackendUnavailable, ModelNotFound, UnreadableSource

CONFIG_FILE = "config.json"
# Weights as safetensors and plain text files, not what other runtimes need. Where there are no safetensors:
# the pickle of tensors that torch's restricted unpickler reads, once.
WANTED = ("*.safetensors", "*.json", "*.txt")
LEGACY = "pytorch_model.bin"
UNWANTED = ("onnx/*", "openvino/*", "coreml/*")
_T = TypeVar("_T")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def source_folder(source: str | Path, *, revision: str | None = None) -> Path:
    """Return the folder of a pretrained model, downloading it where `source` is a name on the hub.

    A folder that exists is taken; `./name` and absolute paths never mean the hub. What was downloaded stays
    in the hub's own cache.

    Raises:
        UnreadableSource: if there is no such folder, or it is no model.
        ModelNotFound: if the hub has no such model or revision, or does not show it.
        BackendUnavailable: if the hub cannot be reached.
        MissingExtra: if the hub's client is not installed.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    name = str(source)
    if folder.exists() or not _HUB_NAME.fullmatch(name):
        raise UnreadableSource(f"expected a folder with a {CONFIG_FILE}, or a name on the hub, got {name!r}")
    require("huggingface_hub", "hf", f"downloading {name}")
    return _download(name, revision)


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    def fetched(files: Sequence[str]) -> Path:
        return Path(
            snapshot_download(
                name, revision=revision, allow_patterns=list(files), ignore_patterns=list(UNWANTED)
            )
        )

    try:
        folder = fetched(WANTED)
        return folder if any(folder.glob("*.safetensors")) else fetched((*WANTED, LEGACY))
    except GatedRepoError as error:
        raise ModelNotFound(f"the hub shows {name} only to those who accepted its terms") from error
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        what = f"{name} at {revision}" if revision else name
        raise ModelNotFound(f"there is no folder {name!r} here, and no model {what} on the hub") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise BackendUnavailable(
            f"there is no folder {name!r} here, and the hub cannot be reached to look for a model of that "
            "name: check the network (HF_ENDPOINT, HF_HUB_OFFLINE) or pass a folder that holds the model"
        ) from error


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object that came with a model.

    Raises:
        UnreadableSource: if there is none.
    """
    return _read(file, dict, "object")


def read_json_list(file: Path) -> list[Any]:
    """Read a JSON array that came with a model.

    Raises:
        UnreadableSource: if there is none.
    """
    return _read(file, list, "array")


def _read(file: Path, kind: type[_T], name: str) -> _T:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableSource(f"{file.name}: expected a JSON file of a pretrained model") from error
    if not isinstance(value, kind):
        raise UnreadableSource(f"{file.name}: expected a JSON {name}, got {type(value).__name__}")
    return value
