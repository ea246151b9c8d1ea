"""Fitting a projection to pairs: a closed form to start from, InfoNCE from there. Writes checkpoints only."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoders.projection.heads import ProjectionShape
from encoders.training.checkpoint import CheckpointFile
from encoders.training.cross_modal import CrossModalRanks, chance, rank_across
from encoders.training.events import OnEvent, StageStarted
from encoders.training.linear_maps import LinearMap, correlated, ridge
from encoders.training.loop import train
from encoders.training.pairs import Floats, Pairs, Rows
from encoders.training.projection_config import ProjectionConfig
from encoders.training.projection_objective import PairBatches, ProjectionObjective, means

# What is tried on the validation pairs.
REGULARISATIONS = (0.1, 0.3, 1.0, 3.0)
PENALTIES = (0.1, 0.3, 1.0, 3.0)


@dataclass(slots=True)
class ProjectionTraining:
    """What is trained on what, and what comes of it."""

    pairs: Pairs
    texts: Floats  # the text backbone's vectors of the distinct captions
    parts: Mapping[str, Rows]
    config: ProjectionConfig
    work: Path  # checkpoints
    on_progress: OnEvent
    curves: dict[str, Any] = field(default_factory=dict)
    chosen: dict[str, float] = field(default_factory=dict)  # by the validation pairs

    @property
    def shape(self) -> ProjectionShape:
        """The widths of what is trained."""
        widths = self.pairs.media.shape[1], self.texts.shape[1]
        dims = min(self.config.dims, *widths)
        return ProjectionShape(
            media_width=widths[0], text_width=widths[1], dims=dims, hidden=self.config.hidden
        )

    def rows(self, *parts: str) -> Rows:
        """Return the numbers of the pairs of some parts."""
        return np.sort(np.concatenate([self.parts[part] for part in parts]))

    def paired(self, rows: Rows) -> tuple[Floats, Floats]:
        """Return the backbones' vectors of pairs, row by row."""
        return self.pairs.media[rows], self.texts[self.pairs.caption_of[rows]]

    def ranks(self, media: Any, text: Any, part: str) -> CrossModalRanks:
        """Rank a part by what projects media and what projects texts."""
        rows = self.parts[part]
        captions, caption_of = np.unique(self.pairs.caption_of[rows], return_inverse=True)
        return rank_across(media(self.pairs.media[rows]), text(self.texts[captions]), caption_of)

    def chance(self, part: str) -> dict[str, float]:
        """Return what a random order of a part gives."""
        captions, caption_of = np.unique(self.pairs.caption_of[self.parts[part]], return_inverse=True)
        return chance(caption_of, len(captions))


def fit(training: ProjectionTraining) -> ProjectionObjective:
    """Train on the training pairs until the validation pairs say stop, then as long on both.

    Fills `training.curves` and `training.chosen`.

    Raises:
        EncoderFault: if the training diverged.
    """
    config = training.config
    torch.manual_seed(config.seed)
    regularisation = config.regularisation or _best_regularisation(training)
    searched = _stage(training, "search", ("train",), regularisation, epochs=config.epochs, measured=True)
    best = searched["best_epoch"]
    training.chosen |= {"regularisation": regularisation, "epochs": best}
    kept = _stage(training, "final", ("train", "validation"), regularisation, epochs=best, measured=False)
    objective: ProjectionObjective = kept["objective"]
    return objective


def _best_regularisation(training: ProjectionTraining) -> float:
    scores = {}
    for regularisation in REGULARISATIONS:
        media, text = _start(training, training.rows("train"), regularisation)
        scores[regularisation] = means(training.ranks(media, text, "validation").means())["MRR"]
    return max(scores, key=scores.__getitem__)


def _start(training: ProjectionTraining, rows: Rows, regularisation: float) -> tuple[LinearMap, LinearMap]:
    media, texts = training.paired(rows)
    return correlated(media, texts, dims=training.shape.dims, regularisation=regularisation)


def _stage(
    training: ProjectionTraining,
    name: str,
    parts: tuple[str, ...],
    regularisation: float,
    *,
    epochs: int,
    measured: bool,
) -> dict[str, Any]:
    config, pairs, rows = training.config, training.pairs, training.rows(*parts)
    training.on_progress(StageStarted(stage=name, detail=f"{len(rows)} pairs"))
    torch.manual_seed(config.seed)
    objective = ProjectionObjective(
        training.shape,
        dropout=config.dropout,
        noise=config.noise,
        temperature=config.temperature,
        centre=pairs.media[rows].mean(axis=0),
    )
    if config.start == "closed_form":
        objective.start_at(*_start(training, rows, regularisation))
    if epochs == 0:  # the start was best
        return {"objective": objective, "best_epoch": 0}
    done = train(
        objective,
        PairBatches(
            media=pairs.media[rows],
            texts=training.texts,
            caption_of=pairs.caption_of[rows],
            groups=pairs.groups[rows],
            batch_size=config.batch_size,
            seed=config.seed,
        ),
        replace(config.stage(name), epochs=epochs, patience=config.patience if measured else 0),
        training.on_progress,
        measure=(lambda: means(_ranks(training, objective, "validation").means())) if measured else None,
        checkpoint=CheckpointFile(training.work / f"{name}.pt"),
    )
    training.curves[name] = done.history
    return {"objective": objective, "best_epoch": done.best_epoch}


def _ranks(training: ProjectionTraining, objective: ProjectionObjective, part: str) -> CrossModalRanks:
    return training.ranks(
        lambda vectors: objective.project("media", vectors),
        lambda vectors: objective.project("text", vectors),
        part,
    )


def ridge_baseline(training: ProjectionTraining) -> CrossModalRanks:
    """Rank the test pairs by a ridge regression from media to texts, its penalty chosen as all else is."""
    train_media, train_texts = training.paired(training.rows("train"))
    scores = {
        penalty: means(training.ranks(*ridge(train_media, train_texts, penalty), "validation").means())["MRR"]
        for penalty in PENALTIES
    }
    training.chosen["ridge_penalty"] = max(scores, key=scores.__getitem__)
    media, texts = training.paired(training.rows("train", "validation"))
    return training.ranks(*ridge(media, texts, training.chosen["ridge_penalty"]), "test")


def closed_form(training: ProjectionTraining) -> CrossModalRanks:
    """Rank the test pairs by what the training starts from."""
    rows = training.rows("train", "validation")
    return training.ranks(*_start(training, rows, training.chosen["regularisation"]), "test")
