"""How a model's training went, from the file that training leaves beside the model."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.results import TrainingCurve

_FILE = "training.json"  # written by encoders/training
_SHOWN = ("loss", "MRR@10", "nDCG@10")


def read_curves(folder: Path) -> dict[str, list[TrainingCurve]]:
    """Read the curves of every quantity worth a plot: one line for each stage of the training.

    A model that was imported or trained elsewhere has no such file, and no curves.
    """
    try:
        stages = json.loads((folder / _FILE).read_text(encoding="utf-8"))["stages"]
        curves = {quantity: _lines(stages, quantity) for quantity in _SHOWN}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {quantity: lines for quantity, lines in curves.items() if lines}


def _lines(stages: Mapping[str, Sequence[Mapping[str, Any]]], quantity: str) -> list[TrainingCurve]:
    lines = []
    for stage, history in stages.items():
        points = [
            (float(epoch["epoch"]), float(epoch[quantity]))
            for epoch in history
            if epoch.get(quantity) is not None
        ]
        if len(points) > 1:
            lines.append(TrainingCurve(stage, points))
    return lines
