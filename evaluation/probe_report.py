"""A probing as one HTML file: which layer knows what."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from evaluation.heat_map import HeatRow, heat_map
from evaluation.page import page

NAMES = {
    "ridge": "Linear probe: ridge, penalty 1",
    "tuned": "Linear probe: ridge, penalty chosen on held-out groups",
    "neural": "Neural probe: one network for all targets",
}


def write_probe_report(probing: Mapping[str, Any], file: Path) -> None:
    """Write the report of a probing, given as `ProbeReport.to_json()`, replacing the file."""
    file.write_text(render(probing), encoding="utf-8", errors="backslashreplace")


def render(probing: Mapping[str, Any]) -> str:
    """Compose the page; every text from outside is escaped."""
    kinds = [kind for kind in NAMES if kind in next(iter(probing["targets"].values()))]
    # The probe that weighs the layers of aspects comes first.
    kinds.sort(key=lambda kind: kind != probing["mapped_by"])
    sections = [
        _header(probing),
        *(_probe(probing, kind) for kind in kinds),
        _aspects(probing),
        _closeness(probing),
        _targets(probing, kinds),
    ]
    return page(f"Probing {probing['features']} on {probing['collection']}", sections)


def _header(probing: Mapping[str, Any]) -> str:
    facts = (
        f"{probing['n']:,} segments of {probing['groups']:,} groups, by {probing['group_by']}",
        f"{probing['layers']} layers of {probing['width']}",
        f"{probing['folds']} folds, none of which parts a group",
        f"run {probing['run']}",
    )
    return (
        f'<header><p class="kicker">Twinspire probing</p><h1>{escape(probing["features"])} '
        f"<span>on {escape(probing['collection'])}</span></h1>"
        f'<p class="facts">{" · ".join(escape(fact) for fact in facts)}</p></header>'
    )


def _probe(probing: Mapping[str, Any], kind: str) -> str:
    rows = []
    for name, target in probing["targets"].items():
        told = target[kind]
        values = [float("nan") if value is None else value for value in told["r2"]]
        tips = [f"{name}, layer {layer}: R2 {value:.3f}" for layer, value in enumerate(values)]
        if (best := told["best_layer"]) is not None:
            low, high = told["best_interval"]
            tips[best] += f" [{low:.3f}, {high:.3f}], the best layer"
        rows.append(HeatRow(name, values, tips, best))
    drawing = heat_map(rows, _layers(probing), label=f"R2 of each target and layer, {kind}")
    return (
        f"<section><h2>{escape(NAMES[kind])}</h2>"
        '<p class="note">R2 of what was predicted for groups that the probe had not seen. 1 is perfect, 0 is '
        "as good as always saying the mean, less is worse than that. The best layer is outlined; pointing at "
        "it shows its 95 % interval over groups.</p>"
        f'<div class="scroll">{drawing}</div></section>'
    )


def _layers(probing: Mapping[str, Any]) -> list[str]:
    return [str(layer) for layer in range(probing["layers"])]


def _aspects(probing: Mapping[str, Any]) -> str:
    rows = [
        HeatRow(aspect, weights, marked=max(range(len(weights)), key=weights.__getitem__))
        for aspect, weights in probing["aspects"].items()
        if any(weights)
    ]
    unknown = [aspect for aspect, weights in probing["aspects"].items() if not any(weights)]
    said = f" No layer knows {', '.join(unknown)}: a search refuses these." if unknown else ""
    return (
        "<section><h2>What an aspect weighs each layer by</h2>"
        '<p class="note">Searches by aspect compare layer by layer, and mix the layers in these shares.'
        f"{escape(said)}</p>"
        f'<div class="scroll">{heat_map(rows, _layers(probing), label="layers of aspects")}</div></section>'
    )


def _closeness(probing: Mapping[str, Any]) -> str:
    body = "".join(
        f"<tr><td>{escape(aspect)}</td>"
        + "".join(
            f"<td>{ways[way]['value']:.3f} [{ways[way]['low']:.3f}, {ways[way]['high']:.3f}]</td>"
            for way in ("aspect", "vector", "measured")
        )
        + "</tr>"
        for aspect, ways in probing["aspect_search"].items()
    )
    return (
        "<section><h2>What a search by aspect finds</h2>"
        '<p class="note">How alike in the aspect the ten nearest of other groups are, by readouts that had '
        "not seen the group: 0 as any ten, 1 not to be told apart. Beside it the encoder's own vectors, and "
        "what was measured, which no reading can exceed.</p>"
        '<div class="scroll"><table class="figures"><thead><tr><th>aspect</th><th>by aspect</th>'
        f"<th>by vectors</th><th>by what was measured</th></tr></thead><tbody>{body}</tbody></table></div>"
        "</section>"
    )


def _targets(probing: Mapping[str, Any], kinds: list[str]) -> str:
    body = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(target['unit'])}</td><td>{target['mean']:.4g}</td>"
        f"<td>{target['deviation']:.4g}</td><td>{_number(target['baseline_r2'])}</td>"
        + "".join(f"<td>{_best(target[kind])}</td>" for kind in kinds)
        + "</tr>"
        for name, target in probing["targets"].items()
    )
    heads = "".join(f"<th>{escape(kind)}, best layer</th>" for kind in kinds)
    return (
        "<section><h2>Targets</h2>"
        '<p class="note">Measured from the sound itself. The baseline says the mean of what it may learn '
        "from.</p>"
        '<div class="scroll"><table class="figures"><thead><tr><th>target</th><th>unit</th><th>mean</th>'
        f"<th>deviation</th><th>baseline R2</th>{heads}</tr></thead><tbody>{body}</tbody></table>"
        "</div></section>"
    )


def _best(told: Mapping[str, Any]) -> str:
    if told["best_layer"] is None:
        return "-"
    low, high = told["best_interval"]
    return f"{told['best_r2']:.3f} [{low:.3f}, {high:.3f}] at {told['best_layer']}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
