"""What `preprocessor_config.json` says of pictures, in any of the forms that its writers used."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encoders.media.specs import ImageSpec
from encoders.pretrained.hub import read_json
from retrieval.errors import IncompatibleModel, UnreadableSource

PREPROCESSOR_FILE = "preprocessor_config.json"
RESAMPLE = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
RESCALE = 1 / 255


def image_preprocessing(folder: Path) -> dict[str, Any]:
    """Return what an encoder card says of how pictures become pixels.

    Keys: height, width, fit, short_edge, resample, as of `ImageSpec`; mean and std of colours 0 to 1.

    Raises:
        UnreadableSource: if the file is missing, or says nothing of that kind.
        IncompatibleModel: if it asks for what is not done here.
    """
    told = read_json(folder / PREPROCESSOR_FILE)
    _check_steps(told)
    try:
        preprocessing = {**_size(told), "resample": RESAMPLE[told.get("resample", 3)]} | {
            "mean": _colours(told["image_mean"]),
            "std": _colours(told["image_std"]),
        }
        names = ("height", "width", "fit", "short_edge", "resample")
        ImageSpec(**{name: preprocessing[name] for name in names})
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableSource(
            f"{PREPROCESSOR_FILE}: expected size, image_mean and image_std of pictures"
        ) from error
    if min(preprocessing["std"]) <= 0:
        raise UnreadableSource(f"{PREPROCESSOR_FILE}: expected image_std above 0")
    return preprocessing


def _check_steps(told: Mapping[str, Any]) -> None:
    for step in ("do_resize", "do_rescale", "do_normalize"):
        if told.get(step, True) is not True:
            raise IncompatibleModel(f"{PREPROCESSOR_FILE}: {step} is off; it is always done here")
    if abs(told.get("rescale_factor", RESCALE) - RESCALE) > 1e-6:
        raise IncompatibleModel(f"{PREPROCESSOR_FILE}: expected a rescale_factor of 1/255")


def _size(told: Mapping[str, Any]) -> dict[str, Any]:
    size, crop = told["size"], told.get("crop_size")
    if told.get("do_center_crop", False):
        edge = size if isinstance(size, int) else size.get("shortest_edge") or min(_sides(size))
        height, width = _sides(crop if crop is not None else size)
        return {"height": height, "width": width, "fit": "crop", "short_edge": int(edge)}
    height, width = _sides(size)
    return {"height": height, "width": width, "fit": "squash", "short_edge": 0}


def _sides(size: Any) -> tuple[int, int]:
    """Return (height, width) of 224, {"shortest_edge": 224} or {"height": 224, "width": 224}."""
    if isinstance(size, int):
        return size, size
    if "shortest_edge" in size:
        return int(size["shortest_edge"]), int(size["shortest_edge"])
    return int(size["height"]), int(size["width"])


def _colours(values: Any) -> list[float]:
    red, green, blue = (float(value) for value in values)
    return [red, green, blue]
