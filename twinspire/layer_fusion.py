"""Training a layer fusion from the command line: extract what is missing, train, compare, print."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoders.training.events import EpochDone, Event, StageStarted
from twinspire.console import out, print_json, say, table
from twinspire.progress import ProgressDisplay
from twinspire.session import Session
from twinspire.training import TrainingDisplay
from twinspire.training_option import config_from

if TYPE_CHECKING:
    from encoders.encoder import LayeredEncoder
    from encoders.training.belonging import Belonging
    from encoders.training.layer_fusion import LayerFusionReport
    from evaluation.fusion_report import FusionFigures
    from retrieval.workspace import Workspace

METRICS = ("P@1", "MRR", "nDCG@10")


@dataclass(slots=True)
class FusionDisplay:
    """Shows the stages of a training and the best epoch of each; a line an epoch would be hundreds."""

    progress: ProgressDisplay
    _inner: TrainingDisplay = field(init=False)
    _best: EpochDone | None = None

    def __post_init__(self) -> None:
        """Let the stages and steps be shown as those of other trainings."""
        self._inner = TrainingDisplay(self.progress)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, EpochDone):
            self._best = event if event.improved and event.metrics else self._best
            return
        if isinstance(event, StageStarted) and self._best is not None:
            told = ", ".join(f"{name} {value:.3f}" for name, value in self._best.metrics.items())
            self.progress.line(f"           best after epoch {self._best.epoch}: {told} (to stop by)")
            self._best = None
        self._inner(event)


def run_layer_fusion(
    session: Session,
    collection: str,
    name: str,
    *,
    backbone: str,
    labels: str,
    pairs: Path | None,
    group_by: str,
    html: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Train, and print the table of systems and the weights of layers."""
    from encoders.training.fusion_config import LayerFusionConfig
    from encoders.training.layer_fusion import train_layer_fusion
    from evaluation.fusion_report import write_fusion_report

    session.on_interrupt = "Run the same command again: it goes on from where it was."
    config = config_from(LayerFusionConfig, given)
    belonging = read_belonging(labels, pairs, group_by)
    workspace = session.workspace()
    encoder, folder = layered_encoder(workspace, backbone)
    with ProgressDisplay() as progress:
        make_features(workspace, collection, encoder, belonging, progress)
        report = train_layer_fusion(
            workspace,
            collection,
            config,
            belonging,
            name=name,
            backbone=encoder,
            backbone_folder=folder,
            on_progress=FusionDisplay(progress),
        )
    told = compared(workspace, collection, report, belonging)
    if html:
        write_fusion_report(told, html)
    if as_json:
        print_json(told.to_json())
    else:
        show(told)
        say(f"Next: twinspire index {collection} --encoder {name}")


def run_finetuning(
    session: Session,
    collection: str,
    name: str,
    *,
    backbone: str,
    labels: str,
    pairs: Path | None,
    group_by: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Fine-tune an audio model, and print how it does on held-out groups, before and after."""
    from encoders.training.audio_finetuning import FinetuningConfig, finetune_audio
    from retrieval.registry import find_model

    session.on_interrupt = "Run the same command again: it goes on from its last checkpoint."
    config = config_from(FinetuningConfig, given)
    belonging = read_belonging(labels, pairs, group_by)
    workspace = session.workspace()
    folder = find_model(workspace, backbone).folder
    with ProgressDisplay() as progress:
        card = finetune_audio(
            workspace,
            collection,
            config,
            belonging,
            name=name,
            backbone_folder=folder,
            on_progress=TrainingDisplay(progress),
        )
    if as_json:
        print_json({"model": f"{card.name}@{card.version}", "metrics": dict(card.metrics)})
        return
    rows = [
        [when, *(f"{card.metrics[f'{split}.{metric}']:.3f}" for metric in METRICS)]
        for when, split in (("before", "zero_shot"), ("after", "test"))
    ]
    out().print(table(f"{card.name}@{card.version}: on held-out groups", ("", *METRICS), rows, right=METRICS))
    say(f"Next: twinspire train layer-fusion {collection} --backbone {name} ...")


def read_belonging(labels: str, pairs: Path | None, group_by: str) -> "Belonging":
    """Make what a training is told of what belongs together.

    Raises:
        UnreadableSource: if the file of pairs is none.
        InvalidInput: if there is neither a label nor a pair, or both.
    """
    from encoders.training.belonging import Belonging

    return Belonging(labels=labels, pairs=read_pairs(pairs) if pairs else (), group_by=group_by)


def read_pairs(file: Path) -> list[tuple[str, str]]:
    """Read a CSV file of pairs of item ids, in its first two columns; a heading `a,b` is left out.

    Raises:
        UnreadableSource: if it is not one.
    """
    from retrieval.errors import UnreadableSource

    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            rows = [row for row in csv.reader(handle) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableSource(f"{file.name}: not a CSV file of pairs") from error
    short = next((number for number, row in enumerate(rows, 1) if len(row) < 2), None)
    if short is not None or not rows:
        raise UnreadableSource(f"{file.name}: expected two ids a row, row {short or 1} has fewer")
    if [cell.strip().lower() for cell in rows[0][:2]] == ["a", "b"]:
        rows = rows[1:]
    return [(row[0], row[1]) for row in rows]


def layered_encoder(workspace: "Workspace", reference: str) -> tuple["LayeredEncoder", Path]:
    """Open a model that has layers.

    Raises:
        ModelNotFound: if there is none of that name.
        IncompatibleModel: if it has no layers.
    """
    from encoders.encoder import LayeredEncoder
    from encoders.loading import load_encoder
    from retrieval.errors import IncompatibleModel
    from retrieval.registry import find_model

    row = find_model(workspace, reference)
    encoder = load_encoder(row.folder)
    if not isinstance(encoder, LayeredEncoder):
        raise IncompatibleModel(
            f"model {row.reference} is of kind {row.kind}: expected one with layers, such as MERT or Whisper"
        )
    return encoder, row.folder


def make_features(
    workspace: "Workspace",
    collection: str,
    encoder: "LayeredEncoder",
    belonging: "Belonging",
    progress: ProgressDisplay,
) -> None:
    """Extract what features and proxy targets the collection lacks."""
    from encoders.probing.meter import TargetMeter
    from indexer.encoding import extract_pending
    from retrieval.items import sequence

    needed: list[LayeredEncoder] = [encoder]
    if belonging.target:
        needed.append(TargetMeter())
    for one in needed:
        extract_pending(
            workspace, collection, one, up_to_key=sequence(workspace, collection), on_progress=progress
        )


def compared(
    workspace: "Workspace",
    collection: str,
    report: "LayerFusionReport",
    belonging: "Belonging",
) -> "FusionFigures":
    """Put intervals to a training's figures, and what probes found beside its weights."""
    from encoders.training.fusion_fit import AVERAGE, FUSED
    from evaluation.fusion_report import figures

    backbone = str(report.card.training["backbone"])
    r2, targets = probed_layers(workspace, collection, backbone)
    return figures(
        {name: ranked.values for name, ranked in report.systems.items()},
        report.systems[FUSED].chance,
        report.query_groups,
        fused=FUSED,
        against=(report.best_layer, AVERAGE),
        model=f"{report.card.name}@{report.card.version}",
        collection=collection,
        labels=belonging.labels or "pairs",
        group_by=belonging.group_by or "item",
        items=report.items,
        groups=report.groups,
        singletons=report.singletons,
        weights=report.weights.tolist(),
        weight_deviations=report.weight_deviations.tolist(),
        r2=r2,
        best_targets=targets,
    )


def probed_layers(workspace: "Workspace", collection: str, backbone: str) -> tuple[list[float], list[str]]:
    """Return what the newest probing of a model's layers found: R2 by layer, and what each knows best."""
    from encoders.probing.probing import RUN_KIND
    from retrieval.registry import list_runs

    for run in list_runs(workspace, kind=RUN_KIND, collection=collection):
        if run.model == backbone and run.artifacts:
            return _by_layer(run.artifacts)
    return [], []


def _by_layer(probing: Mapping[str, Any]) -> tuple[list[float], list[str]]:
    known = {name: told[probing["mapped_by"]]["r2"] for name, told in probing["targets"].items()}
    layers = range(probing["layers"])
    means = [
        sum(max(values[layer] or 0.0, 0.0) for values in known.values()) / len(known) for layer in layers
    ]
    return means, [max(known, key=lambda name: known[name][layer] or 0.0) for layer in layers]


def show(told: "FusionFigures") -> None:
    """Print the systems and the layers."""
    rows = [["a random order", *(f"{told.chance[metric]:.3f}" for metric in METRICS)]]
    rows += [[name, *(str(own[metric]) for metric in METRICS)] for name, own in told.systems.items()]
    rows += [
        [f"fused less {name}", *(str(own[metric]) for metric in METRICS)] for name, own in told.gains.items()
    ]
    title = f"{told.model}: {told.queries:,} held-out queries of {told.items:,} items, {told.groups:,} groups"
    out().print(table(title, ("system", *METRICS), rows, right=METRICS))
    out().print(table("", *_layer_table(told)))
    if told.singletons:
        say(f"{told.singletons:,} items belong together with no other group: not learned from, not asked for")


def _layer_table(told: "FusionFigures") -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    heads = ["layer", "learned weight", "deviation over items"]
    rows = [
        [str(layer), f"{weight:.3f}", f"{deviation:.3f}"]
        for layer, (weight, deviation) in enumerate(zip(told.weights, told.weight_deviations, strict=True))
    ]
    if told.r2:
        heads += ["mean R2 of probes", "knows best"]
        for row, value, target in zip(rows, told.r2, told.best_targets, strict=True):
            row += [f"{value:.3f}", target]
    return heads, rows
