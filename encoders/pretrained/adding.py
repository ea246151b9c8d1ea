"""Making an encoder of a pretrained model: look at its config, copy its files, write a card, register it."""

import re
import shutil
from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, cast

from encoders.artifacts import write_model
from encoders.card import EncoderCard, read_card
from encoders.loading import load_encoder
from encoders.pretrained.description import Description, Family
from encoders.pretrained.hub import CONFIG_FILE, read_json, source_folder
from retrieval.errors import IncompatibleModel, InvalidInput, UnreadableSource
from retrieval.registry import list_models, model_folder, next_model_version, register_model
from retrieval.workspace import Workspace

# transformers' model type -> the module that describes such a model (see `Family`).
FAMILIES: Mapping[str, str] = {
    "bert": "encoders.text.family",
    "distilbert": "encoders.text.family",
    "mpnet": "encoders.text.family",
    "xlm-roberta": "encoders.text.family",
    "clip": "encoders.image.clip",
    "xclip": "encoders.video.xclip",
    "clap": "encoders.audio.clap",
    "hubert": "encoders.audio.layers",
    "mert_model": "encoders.audio.layers",
    "wav2vec2": "encoders.audio.layers",
    "whisper": "encoders.audio.layers",
    "torchvision_mobilenet_v2": "encoders.image.backbone",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def add_encoder(
    ws: Workspace, name: str, source: str | Path, *, revision: str | None = None, **options: Any
) -> EncoderCard:
    """Make an encoder of a pretrained model and register it as `name@version`.

    The model's files are copied, so the encoder needs neither the source nor the network again. A model
    that the newest version of the name holds already is not added twice.

    Args:
        ws: the workspace.
        name: what to call the encoder; its version is the next free number.
        source: a folder, or a name on the hub such as "intfloat/e5-small-v2".
        revision: of the model on the hub; None = its newest.
        options: what its family lets one choose, such as `pooling`; unknown ones are refused.

    Returns:
        The card.

    Raises:
        InvalidInput: if the name or an option cannot be.
        UnreadableSource: if the source is no model, or one of its files is damaged.
        IncompatibleModel: if nothing here takes this type of model, or its weights do not fit its config.
        ModelNotFound: if the hub does not have it.
        BackendUnavailable: if the hub cannot be reached.
        MissingExtra: if a library that it needs is not installed.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"encoder name: expected letters, digits, '.', '_', '-', got {name!r}", field="name"
        )
    folder = source_folder(source, revision=revision)
    description = describe(folder, **options)
    version = next_model_version(ws, name)
    target = model_folder(ws, name, version)
    told = {"source": Path(source).name if Path(source).is_dir() else str(source), "revision": revision or ""}
    try:
        card = write_model(target, _card(description, name, version, told), description.files)
        load_encoder(target)  # what cannot be loaded is refused now, not when it is wanted
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    for model in list_models(ws):
        if (model.name, model.fingerprint) == (name, card.fingerprint) and model.folder.is_dir():
            shutil.rmtree(target)
            return read_card(model.folder)
    register_model(ws, name, version, card.kind, card.fingerprint, {})
    return card


def describe(folder: Path, **options: Any) -> Description:
    """Describe the pretrained model of a folder, by the family that its config names.

    Raises:
        UnreadableSource: if the folder is no model.
        IncompatibleModel: if no family here takes this type.
        InvalidInput: if it has no such option.
    """
    if not folder.joinpath(CONFIG_FILE).is_file():
        raise UnreadableSource(f"folder {folder.name!r} holds no {CONFIG_FILE}: it is no pretrained model")
    model_type = read_json(folder / CONFIG_FILE).get("model_type", "")
    if model_type not in FAMILIES:
        raise IncompatibleModel(
            f"the model in {folder.name!r} is of type {model_type!r}; there are encoders for "
            + ", ".join(sorted(FAMILIES))
        )
    family = cast(Family, import_module(FAMILIES[model_type]))
    known = [name for name in signature(family.describe).parameters if name != "folder"]
    if unknown := sorted(set(options) - set(known)):
        raise InvalidInput(
            f"a {model_type} encoder has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}",
            field=unknown[0],
        )
    return family.describe(folder, **options)


def _card(description: Description, name: str, version: int, told: Mapping[str, Any]) -> EncoderCard:
    return EncoderCard(
        kind=description.kind,
        name=name,
        version=version,
        modalities=description.modalities,
        dims=description.dims,
        max_words=description.max_words,
        preprocessing=description.preprocessing,
        architecture=description.architecture,
        training=told,
    )
