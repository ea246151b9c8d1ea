"""Fitting a projection to pairs: a closed form to start from, InfoNCE from there. Writes checkpoints only."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from encoders.projection.heads import Head, KernelMap, ProjectionShape, SideShape
from encoders.training.checkpoint import CheckpointFile
from encoders.training.cross_modal import CrossModalRanks, chance, rank_across
from encoders.training.events import OnEvent, StageStarted
from encoders.training.linear_maps import LinearMap, correlated, gaussian_kernel, ridge
from encoders.training.loop import train
from encoders.training.pairs import Floats, Pairs, Rows
from encoders.training.projection_config import ProjectionConfig
from encoders.training.projection_objective import PairBatches, ProjectionObjective, means

# What is tried in cross-validation. A kernel of gamma 0 is none.
REGULARISATIONS = (0.1, 0.3, 0.6, 1.0, 3.0)
PENALTIES = (0.1, 0.3, 1.0, 3.0)
MEDIA_GAMMAS = (0.0, 1.0, 2.0, 4.0)
TEXT_GAMMAS = (0.0, 1.0, 2.0, 4.0)
FOLDS = 3
RANK = 600  # of a kernel's features

Map: TypeAlias = Callable[[Floats], Floats]


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
    chosen: dict[str, float] = field(default_factory=dict)  # by pairs that are not held out
    kernels: dict[tuple[str, float, bytes], KernelMap] = field(default_factory=dict)  # made so far

    def rows(self, *parts: str) -> Rows:
        """Return the numbers of the pairs of some parts."""
        return np.sort(np.concatenate([self.parts[part] for part in parts]))

    def paired(self, rows: Rows) -> tuple[Floats, Floats]:
        """Return the backbones' vectors of pairs, row by row."""
        return self.pairs.media[rows], self.texts[self.pairs.caption_of[rows]]

    def folds(self) -> Iterator[tuple[Rows, Rows]]:
        """Part what is not held out, groups whole: all but a fold, and the fold."""
        rows = self.rows("train", "validation")
        groups = self.pairs.groups[rows]
        drawn = np.random.default_rng(self.config.seed).permutation(np.unique(groups))
        for fold in np.array_split(drawn, min(FOLDS, len(drawn))):
            inside = np.isin(groups, fold)
            yield rows[~inside], rows[inside]

    def ranks(self, media: Map, text: Map, part: str) -> CrossModalRanks:
        """Rank a part by what projects media and what projects texts."""
        return self.ranks_of(media, text, self.parts[part])

    def ranks_of(self, media: Map, text: Map, rows: Rows) -> CrossModalRanks:
        """Rank some pairs by what projects media and what projects texts."""
        captions, caption_of = np.unique(self.pairs.caption_of[rows], return_inverse=True)
        return rank_across(media(self.pairs.media[rows]), text(self.texts[captions]), caption_of)

    def chance(self, part: str) -> dict[str, float]:
        """Return what a random order of a part gives."""
        captions, caption_of = np.unique(self.pairs.caption_of[self.parts[part]], return_inverse=True)
        return chance(caption_of, len(captions))


@dataclass(frozen=True, slots=True)
class Reading:
    """What the linear maps of both sides read: the backbones' vectors, or kernels of them."""

    media: KernelMap | None
    text: KernelMap | None

    def read(self, side: str, vectors: Floats) -> Floats:
        """Turn a backbone's vectors into what the linear map reads."""
        kernel = self.media if side == "media" else self.text
        return vectors if kernel is None else kernel(vectors)

    def shape(self, side: str, width: int) -> SideShape:
        """Describe a side."""
        kernel = self.media if side == "media" else self.text
        if kernel is None:
            return SideShape(width=width)
        rank, landmarks = kernel.whitening.shape
        return SideShape(width=width, landmarks=landmarks, rank=rank, gamma=kernel.gamma)

    def tensors(self) -> dict[str, Floats]:
        """Return the kernels' tensors, as `ProjectionShape.tensors` names them."""
        return {
            f"{side}.kernel.{name}": np.asarray(getattr(kernel, name), np.float32)
            for side, kernel in (("media", self.media), ("text", self.text))
            if kernel is not None
            for name in ("landmarks", "whitening")
        }


@dataclass(frozen=True, slots=True)
class Fitted:
    """A projection as it will be served, in numpy."""

    shape: ProjectionShape
    tensors: Mapping[str, Floats]

    def ranks(self, training: ProjectionTraining, part: str) -> CrossModalRanks:
        """Rank a part of the pairs."""
        media, text = (Head(self.shape, side, self.tensors) for side in ("media", "text"))
        return training.ranks(media, text, part)


def fit(training: ProjectionTraining) -> Fitted:
    """Train on the training pairs until the validation pairs say stop, then as long on both.

    Fills `training.curves` and `training.chosen`.

    Raises:
        EncoderFault: if the training diverged.
    """
    config = training.config
    _choose(training)
    _, best = _stage(training, "search", ("train",), epochs=config.epochs, measured=True)
    training.chosen["epochs"] = best
    return _stage(training, "final", ("train", "validation"), epochs=best, measured=False)[0]


def _choose(training: ProjectionTraining) -> None:
    """Choose the kernels, then the regularisation, each by the closed form in cross-validation."""
    config, chosen = training.config, training.chosen
    chosen |= {"media_gamma": 0.0, "text_gamma": 0.0, "regularisation": config.regularisation or 1.0}
    tried: list[tuple[str, tuple[float, ...], float | None]] = [
        ("regularisation", REGULARISATIONS, config.regularisation or None)
    ]
    if config.kernel:
        tried = [
            ("media_gamma", MEDIA_GAMMAS, config.media_gamma),
            ("text_gamma", TEXT_GAMMAS, config.text_gamma),
            *tried,
        ]
    for name, values, told in tried:
        scores = {}
        for value in values if told is None else ():
            chosen[name] = value
            scores[value] = _cross_validated(
                training, lambda rows: _closed_form(training, rows, _reading(training, rows))
            )
        chosen[name] = max(scores, key=scores.__getitem__) if scores else float(told or 0)
        training.kernels = {  # the others are not asked for again
            key: kernel for key, kernel in training.kernels.items() if key[1] == chosen[f"{key[0]}_gamma"]
        }


def _cross_validated(training: ProjectionTraining, make: Callable[[Rows], tuple[Map, Map]]) -> float:
    """Return the MRR of maps that are made of some pairs, on others."""
    found = [training.ranks_of(*make(learned), fold) for learned, fold in training.folds()]
    return float(np.mean([means(ranks.means())["MRR"] for ranks in found]))


def _reading(training: ProjectionTraining, rows: Rows) -> Reading:
    """Make the kernels that were chosen, of the pairs of these rows."""
    kernels: dict[str, KernelMap | None] = {}
    for side, vectors in zip(("media", "text"), training.paired(rows), strict=True):
        gamma = training.chosen[f"{side}_gamma"]
        key = (side, gamma, rows.tobytes())
        if gamma and key not in training.kernels:
            training.kernels[key] = gaussian_kernel(
                vectors,
                gamma=gamma,
                landmarks=training.config.landmarks,
                rank=RANK,
                seed=training.config.seed,
            )
        kernels[side] = training.kernels[key] if gamma else None
    return Reading(**kernels)


def _start(training: ProjectionTraining, rows: Rows, reading: Reading) -> tuple[LinearMap, LinearMap]:
    media, texts = training.paired(rows)
    return correlated(
        reading.read("media", media),
        reading.read("text", texts),
        dims=training.config.dims,
        regularisation=training.chosen["regularisation"],
    )


def _closed_form(training: ProjectionTraining, rows: Rows, reading: Reading) -> tuple[Map, Map]:
    media, text = _start(training, rows, reading)
    return (
        lambda vectors: media(reading.read("media", vectors)),
        lambda vectors: text(reading.read("text", vectors)),
    )


def _shape(training: ProjectionTraining, reading: Reading) -> ProjectionShape:
    media = reading.shape("media", training.pairs.media.shape[1])
    text = reading.shape("text", training.texts.shape[1])
    dims = min(training.config.dims, media.read_width, text.read_width)
    return ProjectionShape(media=media, text=text, dims=dims, hidden=training.config.hidden)


def _stage(
    training: ProjectionTraining, name: str, parts: tuple[str, ...], *, epochs: int, measured: bool
) -> tuple[Fitted, int]:
    """Train from the start on some parts; returns the projection and its best epoch."""
    config, pairs, rows = training.config, training.pairs, training.rows(*parts)
    training.on_progress(StageStarted(stage=name, detail=f"{len(rows)} pairs"))
    torch.manual_seed(config.seed)
    reading = _reading(training, rows)
    read_media = reading.read("media", pairs.media[rows])
    shape = _shape(training, reading)
    objective = ProjectionObjective(
        shape,
        dropout=config.dropout,
        noise=config.noise,
        temperature=config.temperature,
        centre=read_media.mean(axis=0),
    )
    if config.start == "closed_form":
        objective.start_at(*_start(training, rows, reading))

    def fitted() -> Fitted:
        return Fitted(shape, objective.tensors() | reading.tensors())

    if epochs == 0:  # the start was best
        return fitted(), 0
    done = train(
        objective,
        PairBatches(
            media=read_media,
            texts=reading.read("text", training.texts),
            caption_of=pairs.caption_of[rows],
            groups=pairs.groups[rows],
            batch_size=config.batch_size,
            seed=config.seed,
        ),
        replace(config.stage(name), epochs=epochs, patience=config.patience if measured else 0),
        training.on_progress,
        measure=(lambda: means(fitted().ranks(training, "validation").means())) if measured else None,
        checkpoint=CheckpointFile(training.work / f"{name}.pt"),
    )
    training.curves[name] = done.history
    return fitted(), done.best_epoch


def ridge_baseline(training: ProjectionTraining) -> CrossModalRanks:
    """Rank the test pairs by a ridge regression from media to texts, its penalty chosen as all else is."""
    scores = {
        penalty: _cross_validated(training, partial(_ridge, training, penalty)) for penalty in PENALTIES
    }
    training.chosen["ridge_penalty"] = max(scores, key=scores.__getitem__)
    rows = training.rows("train", "validation")
    return training.ranks(*_ridge(training, training.chosen["ridge_penalty"], rows), "test")


def _ridge(training: ProjectionTraining, penalty: float, rows: Rows) -> tuple[Map, Map]:
    return ridge(*training.paired(rows), penalty)


def closed_form(training: ProjectionTraining) -> CrossModalRanks:
    """Rank the test pairs by what the training starts from."""
    rows = training.rows("train", "validation")
    return training.ranks(*_closed_form(training, rows, _reading(training, rows)), "test")
