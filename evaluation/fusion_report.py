"""A trained layer fusion beside single layers: figures with intervals, and a page that draws them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.grouped_intervals import Estimate, grouped_estimates
from evaluation.page import page
from evaluation.plots import Line, line_chart

Floats = NDArray[np.float64]
METRICS = ("P@1", "MRR", "nDCG@10")


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionFigures:
    """What is printed and drawn of a training."""

    model: str
    collection: str
    labels: str
    group_by: str
    items: int
    groups: int
    singletons: int
    queries: int
    chance: Mapping[str, float]
    systems: Mapping[str, Mapping[str, Estimate]]  # system -> metric -> estimate
    gains: Mapping[str, Mapping[str, Estimate]]  # what the fusion is compared with -> metric -> difference
    weights: Sequence[float]  # by layer, the mean share over the items
    weight_deviations: Sequence[float]
    r2: Sequence[float] = ()  # by layer, if the collection was probed: mean over the targets, below 0 as 0
    best_targets: Sequence[str] = ()  # by layer, what it knows best

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return asdict(self)


def figures(
    systems: Mapping[str, Floats],
    chance: Floats,
    query_groups: NDArray[np.int64],
    *,
    fused: str,
    against: Sequence[str],
    **told: Any,
) -> FusionFigures:
    """Estimate the metrics of systems and the gain of the fused one, by drawing groups again.

    Args:
        systems: the metrics of each query, shape (queries, METRICS), the same queries in the same order.
        chance: what a random order gives on average, of the same shape.
        query_groups: the group of each query.
        fused: the system that was trained.
        against: systems that it is compared with, query by query.
        told: the other fields.
    """

    def estimated(values: Floats) -> dict[str, Estimate]:
        return dict(zip(METRICS, grouped_estimates(values, query_groups), strict=True))

    return FusionFigures(
        queries=len(query_groups),
        chance=dict(zip(METRICS, chance.mean(axis=0).tolist(), strict=True)),
        systems={name: estimated(values) for name, values in systems.items()},
        gains={name: estimated(systems[fused] - systems[name]) for name in against},
        **told,
    )


def write_fusion_report(told: FusionFigures, file: Path) -> None:
    """Write the page, replacing the file."""
    file.write_text(render(told), encoding="utf-8", errors="backslashreplace")


def render(told: FusionFigures) -> str:
    """Compose the page; every text from outside is escaped."""
    return page(
        f"{told.model} on {told.collection}", [_header(told), _table(told), _by_layer(told), _weights(told)]
    )


def _header(told: FusionFigures) -> str:
    facts = (
        f"{told.queries:,} queries among {told.items:,} items of {told.groups:,} groups, by {told.group_by}",
        f"belonging together: same {told.labels}",
        f"{told.singletons:,} items belong to no other",
        "each group held out once",
    )
    return (
        f'<header><p class="kicker">Twinspire layer fusion</p><h1>{escape(told.model)} '
        f"<span>on {escape(told.collection)}</span></h1>"
        f'<p class="facts">{" · ".join(escape(fact) for fact in facts)}</p></header>'
    )


def _table(told: FusionFigures) -> str:
    rows = [("a random order", [f"{told.chance[metric]:.3f}" for metric in METRICS])]
    rows += [(name, [str(own[metric]) for metric in METRICS]) for name, own in told.systems.items()]
    rows += [
        (f"fused less {name}", [str(own[metric]) for metric in METRICS]) for name, own in told.gains.items()
    ]
    body = "".join(
        f"<tr><td>{escape(name)}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        for name, cells in rows
    )
    heads = "".join(f"<th>{metric}</th>" for metric in METRICS)
    return (
        '<section><h2>On held-out groups</h2><p class="note">95 % intervals, drawing whole groups again. '
        "Items of the query's own group are never found nor counted.</p>"
        f'<div class="scroll"><table class="figures"><thead><tr><th>system</th>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></section>"
    )


def _by_layer(told: FusionFigures) -> str:
    single = [own for name, own in told.systems.items() if name.startswith("layer ")]
    lines = [
        Line(
            metric,
            [(float(layer), own[metric].value) for layer, own in enumerate(single)],
            [f"layer {layer}, {metric} {own[metric]}" for layer, own in enumerate(single)],
        )
        for metric in METRICS
    ]
    fused = list(told.systems.values())[-1]["nDCG@10"].value
    drawing = line_chart(
        lines, x_label="layer", y_label="on held-out groups", mark=(fused, f"fused, nDCG@10 {fused:.3f}")
    )
    return f'<section><h2>What each layer can do alone</h2><div class="scroll">{drawing}</div></section>'


def _weights(told: FusionFigures) -> str:
    lines = [
        Line(
            "learned weight",
            [(float(layer), weight) for layer, weight in enumerate(told.weights)],
            [
                f"layer {layer}: {weight:.3f}, deviation over items {deviation:.3f}"
                for layer, (weight, deviation) in enumerate(
                    zip(told.weights, told.weight_deviations, strict=True)
                )
            ],
        )
    ]
    if told.r2:
        points = [(float(layer), value) for layer, value in enumerate(told.r2)]
        tips = [
            f"layer {layer}: R2 {value:.3f}, best {target}"
            for layer, (value, target) in enumerate(zip(told.r2, told.best_targets, strict=True))
        ]
        lines.append(Line("mean R2 of probes", points, tips))
    even = 1 / len(told.weights)
    drawing = line_chart(
        lines, x_label="layer", y_label="share, R2", y_from=0.0, mark=(even, "all layers alike")
    )
    said = (
        "" if told.r2 else " Probe the collection (twinspire probe) to see what each layer knows beside it."
    )
    return (
        '<section><h2>What was learned about the layers</h2><p class="note">The share of each layer in the '
        f"mixture, on average over the items.{said}</p>"
        f'<div class="scroll">{drawing}</div></section>'
    )
