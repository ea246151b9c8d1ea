"""Running a training from the command line, and showing how it goes."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from encoders.training.events import EpochDone, Event, Resumed, StageStarted, StepDone
from twinspire.console import print_json, say
from twinspire.progress import ProgressDisplay
from twinspire.session import Session
from twinspire.training_option import config_from

if TYPE_CHECKING:
    from encoders.card import EncoderCard
    from encoders.training.fit import Neighbours
    from encoders.training.sweep import Trial

MINED_NEIGHBOURS = 30
SHOWN_METRICS = ("MRR@10", "Recall@10", "MRR", "P@1")

STAGES = {
    "read": "reading the collection",
    "vectors": "word vectors",
    "texts": "cutting texts into tokens",
    "corpus": "training on texts alone",
    "questions": "training on questions",
    "save": "measuring and saving",
}


@dataclass(frozen=True, slots=True)
class _Steps:
    """Steps of a stage, for the progress bar."""

    stage: str
    done: int
    total: int


@dataclass(slots=True)
class TrainingDisplay:
    """Shows what a training tells: stages, a bar of steps, and a line of metrics per epoch."""

    progress: ProgressDisplay
    _started_s: float = field(default_factory=time.monotonic)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event:
            case StageStarted():
                what = STAGES.get(event.stage, event.stage)
                self.progress.line(f"  {self._clock()} {what}{f': {event.detail}' if event.detail else ''}")
            case StepDone():
                self.progress(_Steps(event.stage, event.step, event.steps))
            case EpochDone():
                self.progress.line(f"  {self._clock()} {_epoch_line(event)}")
            case Resumed():
                self.progress.line(f"  {self._clock()} going on after epoch {event.epoch} of {event.stage}")

    def _clock(self) -> str:
        return f"{time.monotonic() - self._started_s:6.1f} s"


def _epoch_line(event: EpochDone) -> str:
    parts = [f"epoch {event.epoch} of {event.epochs}"]
    if event.loss is not None:
        parts.append(f"loss {event.loss:.4f}")
    parts += [f"{name} {event.metrics[name]:.4f}" for name in SHOWN_METRICS if name in event.metrics]
    if event.metrics and event.improved and event.epoch:
        parts.append("best so far")
    return ", ".join(parts)


def run_training(
    session: Session,
    collection: str,
    name: str,
    *,
    mine: bool,
    sweep: int | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Train, and print the model and its metrics."""
    from encoders.training.config import TwoTowerConfig
    from encoders.training.sweep import sweep_two_tower
    from encoders.training.two_tower import train_two_tower

    session.on_interrupt = "Run the same command again: the training goes on from its last checkpoint."
    if given["init"] is not None:
        given["init"] = word_vectors(given["init"])
    config = config_from(TwoTowerConfig, given)
    workspace = session.workspace()
    with ProgressDisplay() as progress, neighbours(session, collection, mine) as find:
        tell = TrainingDisplay(progress) if is_first_process() else _ignore
        if sweep:
            card = sweep_two_tower(
                workspace,
                collection,
                config,
                name=name,
                trials=sweep,
                neighbours=find,
                on_trial=lambda trial: progress.line(trial_line(trial)),
                on_progress=tell,
            )
        else:
            card = train_two_tower(
                workspace, collection, config, name=name, neighbours=find, on_progress=tell
            )
    if is_first_process():
        show_card(card, collection, as_json=as_json)


def run_text_tuning(
    session: Session, collection: str, name: str, *, mine: bool, as_json: bool, **given: Any
) -> None:
    """Fine-tune a text encoder, export it where that can be, and print the model and its metrics."""
    from encoders.pretrained.exporting import can_export, export_encoder
    from encoders.training.text_config import TextTuningConfig
    from encoders.training.text_tuning import tune_text

    session.on_interrupt = "Run the same command again: the training goes on from its last checkpoint."
    config = config_from(TextTuningConfig, given)
    workspace = session.workspace()
    with ProgressDisplay() as progress, neighbours(session, collection, mine) as find:
        tell = TrainingDisplay(progress) if is_first_process() else _ignore
        card = tune_text(workspace, collection, config, name=name, neighbours=find, on_progress=tell)
    if is_first_process():
        if can_export(card):
            export_encoder(workspace, f"{card.name}@{card.version}")
        show_card(card, collection, as_json=as_json)


def trial_line(trial: "Trial") -> str:
    """Describe one trial of a sweep."""
    settings = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in trial.changed.items()
    )
    score = "given up" if trial.score is None else f"MRR@10 {trial.score:.4f}"
    best = "" if trial.best_score is None else f" (best {trial.best_score:.4f})"
    return f"  trial {trial.number + 1}: {score}{best}: {settings}"


def is_first_process() -> bool:
    """Tell whether this is the only process, or the first of those that torchrun started: it alone talks."""
    return os.environ.get("RANK", "0") == "0"


def _ignore(event: Event) -> None:
    pass


def word_vectors(init: str) -> str:
    """Turn --init into what the config takes: `static` is fetched the first time."""
    if init != "static":
        return init
    from indexer.assets import static_vectors

    with ProgressDisplay() as progress:
        return str(static_vectors(progress))


@contextmanager
def neighbours(session: Session, collection: str, wanted: bool) -> Iterator["Neighbours | None"]:
    """Open what finds hard negatives in the live index; None if they are not wanted."""
    if not wanted:
        yield None
        return
    from twinspire.engines import open_engine
    from twinspire.queries import SearchQuery

    with open_engine(session, None) as search:

        def find(texts: Sequence[str]) -> list[list[str]]:
            queries = (SearchQuery(text=text, limit=MINED_NEIGHBOURS, attributes=()) for text in texts)
            return [[hit.id for hit in search(collection, query).hits] for query in queries]

        yield find


def show_card(card: "EncoderCard", collection: str, *, as_json: bool) -> None:
    """Print a trained model."""
    if as_json:
        print_json({**model_json(card), "metrics": dict(card.metrics), "training": dict(card.training)})
        return
    click.echo("\n".join(card_lines(card)))
    say(f"Next: twinspire index {collection} --encoder {card.name}")


def model_json(card: "EncoderCard") -> dict[str, Any]:
    """Tell programs which model it is."""
    return {"model": f"{card.name}@{card.version}", "fingerprint": card.fingerprint, "dims": card.dims}


def card_lines(card: "EncoderCard") -> list[str]:
    """Describe a trained model: what it is, and its metrics on queries it was not trained on."""
    lines = [f"{card.name}@{card.version}: {card.dims}-wide vectors, fingerprint {card.fingerprint[:12]}"]
    for split in ("validation", "test", "sampled_validation", "sampled_test"):
        if line := _metrics_line(card.metrics, split):
            lines.append(f"  {split:<10} {line}")
    return lines


def _metrics_line(metrics: Mapping[str, float], split: str) -> str:
    return ", ".join(
        f"{name} {metrics[f'{split}.{name}']:.3f}" + _before(metrics, f"{split}.{name}")
        for name in ("MRR@10", "nDCG@10", "Recall@10")
        if f"{split}.{name}" in metrics
    )


def _before(metrics: Mapping[str, float], name: str) -> str:
    untrained = metrics.get(f"zero_shot.{name}")
    return "" if untrained is None else f" (untrained {untrained:.3f})"
