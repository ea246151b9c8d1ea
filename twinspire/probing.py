"""Probing for the command line: measure, extract, probe, show."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from twinspire.console import out, table

if TYPE_CHECKING:
    from encoders.encoder import LayeredEncoder
    from indexer.progress import OnProgress
    from retrieval.workspace import Workspace

PROBES = {"ridge": "ridge", "tuned": "tuned ridge", "neural": "neural"}


def run_probing(
    ws: "Workspace",
    collection: str,
    encoder_name: str,
    *,
    group_by: str,
    neural: bool,
    seed: int,
    on_progress: "OnProgress",
) -> dict[str, Any]:
    """Measure what is not measured yet, extract the features that lack, and probe them.

    Returns:
        `ProbeReport.to_json()`.

    Raises:
        ModelNotFound: if there is no such encoder.
        IncompatibleModel: if it keeps no layers.
        InvalidInput: if the collection has too few sounds.
        MissingExtra: if a library is not installed.
    """
    from encoders.extras import require
    from encoders.probing.probes import KINDS
    from encoders.probing.probing import probe_collection
    from indexer.progress import Progress
    from retrieval.collections import require_collection

    require("scipy", "train", "probing")
    require_collection(ws, collection)
    encoder = layered_encoder(ws, encoder_name)
    make_features(ws, collection, encoder, on_progress)
    report = probe_collection(
        ws,
        collection,
        encoder,
        group_by=group_by,
        kinds=[kind for kind in KINDS if neural or kind != "neural"],
        seed=seed,
        on_step=lambda kind, done, total: on_progress(Progress(PROBES[kind], done, total)),
    )
    return report.to_json()


def layered_encoder(ws: "Workspace", name: str) -> "LayeredEncoder":
    """Open an encoder that keeps layers.

    Raises:
        ModelNotFound: if there is no such encoder.
        IncompatibleModel: if it keeps none.
    """
    from encoders.encoder import LayeredEncoder
    from encoders.loading import load_encoder
    from retrieval.errors import IncompatibleModel
    from retrieval.registry import find_model

    model = find_model(ws, name)
    encoder = load_encoder(model.folder)
    if not isinstance(encoder, LayeredEncoder):
        raise IncompatibleModel(
            f"{model.reference} keeps no layers: expected an encoder of sounds such as Whisper or MERT"
        )
    return encoder


def make_features(
    ws: "Workspace", collection: str, encoder: "LayeredEncoder", on_progress: "OnProgress"
) -> None:
    """Give proxy targets and features to what has none."""
    from encoders.probing.meter import TargetMeter
    from indexer.encoding import extract_pending
    from indexer.progress import Progress
    from retrieval.items import sequence

    up_to_key = sequence(ws, collection)
    for stage, maker in (("measure", TargetMeter()), ("extract", encoder)):

        def tell(told: Progress, stage: str = stage) -> None:
            on_progress(Progress(stage, told.done, told.total))

        extract_pending(ws, collection, maker, up_to_key=up_to_key, on_progress=tell)


def show_probing(probing: Mapping[str, Any]) -> None:
    """Print R2 of each target and layer, the best layers of each probe, and the layers of aspects."""
    tables = (_r2_table(probing, probing["mapped_by"]), _best_table(probing))
    for shown in (*tables, _aspect_table(probing), _closeness_table(probing)):
        out().print(shown)
        click.echo()
    click.echo(
        f"{probing['n']:,} segments of {probing['groups']:,} groups by {probing['group_by']},"
        f" {probing['folds']} folds; R2 0 is as good as the mean."
        f" Run {probing['run']}, {probing['aspects_model']}."
    )


def _layers(probing: Mapping[str, Any]) -> list[str]:
    return [str(layer) for layer in range(probing["layers"])]


def _r2_table(probing: Mapping[str, Any], kind: str) -> Any:
    rows = []
    for name, target in probing["targets"].items():
        told = target[kind]
        cells = [_cell(value, strong=layer == told["best_layer"]) for layer, value in enumerate(told["r2"])]
        rows.append([name, target["unit"], *cells])
    layers = _layers(probing)
    return table(f"R2 by layer, {PROBES[kind]}", ["target", "unit", *layers], rows, right=layers)


def _cell(value: float | None, *, strong: bool) -> str:
    if value is None or math.isnan(value):
        return "-"
    text = f"{value:.2f}" if value > -10 else "<-10"
    colour = "green" if value >= 0.5 else "yellow" if value > 0 else "dim"
    return f"[{'bold ' if strong else ''}{colour}]{text}[/]"


def _best_table(probing: Mapping[str, Any]) -> Any:
    kinds = [kind for kind in PROBES if kind in next(iter(probing["targets"].values()))]
    rows = [
        [name, f"{target['mean']:.4g}", *(_best(target[kind]) for kind in kinds)]
        for name, target in probing["targets"].items()
    ]
    heads = [f"{PROBES[kind]}, best layer" for kind in kinds]
    return table("Best layer, 95 % interval", ["target", "mean", *heads], rows, right=["mean"])


def _best(told: Mapping[str, Any]) -> str:
    if told["best_layer"] is None:
        return "does not vary"
    low, high = told["best_interval"]
    return f"{told['best_layer']:>2}: {told['best_r2']:.3f} \\[{low:.3f}, {high:.3f}]"


def _aspect_table(probing: Mapping[str, Any]) -> Any:
    rows = [
        [aspect, *([f"{weight:.2f}" for weight in weights] if any(weights) else ["unknown"])]
        for aspect, weights in probing["aspects"].items()
    ]
    layers = _layers(probing)
    padded = [[*row, *[""] * (len(layers) + 1 - len(row))] for row in rows]
    return table("Share of each layer in an aspect", ["aspect", *layers], padded, right=layers)


def _closeness_table(probing: Mapping[str, Any]) -> Any:
    rows = [
        [aspect, *(_interval(ways[way]) for way in ("aspect", "vector", "measured"))]
        for aspect, ways in probing["aspect_search"].items()
    ]
    heads = ["by aspect", "by the encoder's vectors", "by what was measured"]
    return table(
        "How alike the 10 nearest of other groups are (0 as any ten, 1 not to be told apart)",
        ["aspect", *heads],
        rows,
    )


def _interval(found: Mapping[str, float]) -> str:
    return f"{found['value']:.3f} \\[{found['low']:.3f}, {found['high']:.3f}]"
