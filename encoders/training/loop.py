"""The training loop, the only one: two towers, pretrained towers, projections and layer fusion use it."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from encoders.training.checkpoint import CheckpointFile, State
from encoders.training.distributed import rank, share, share_weights, sum_gradients
from encoders.training.events import EpochDone, OnEvent, Resumed, StepDone
from encoders.training.optimisation import (
    PLATEAU_FACTOR,
    LoopConfig,
    clip_gradients,
    learning_rate,
    make_optimizers,
    set_learning_rate,
)
from retrieval.errors import EncoderFault

Optimizers: TypeAlias = list[torch.optim.Optimizer]
BatchT_co = TypeVar("BatchT_co", covariant=True)


class Batches(Protocol[BatchT_co]):
    """Makes batches. The same epoch always gives the same batches: that is what lets a training resume."""

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        ...

    def epoch(self, number: int) -> Iterator[BatchT_co]:
        """Make the batches of an epoch, from 1."""
        ...


@dataclass(slots=True)
class Progress:
    """Where a stage stands."""

    epoch: int = 0  # epochs done
    best_metric: float = float("-inf")
    best_epoch: int = 0
    bad_epochs: int = 0  # since the best one
    rate_factor: float = 1.0  # what the plateau scheduler made of it
    history: list[dict[str, Any]] = field(default_factory=list)  # one entry an epoch: the curves


def train(
    model: nn.Module,
    batches: Batches[Any],
    config: LoopConfig,
    on_step: OnEvent,
    *,
    measure: Callable[[], Mapping[str, float]] | None = None,
    checkpoint: CheckpointFile | None = None,
) -> Progress:
    """Train a model and leave its best weights in it.

    Args:
        model: called with a batch, it returns the loss, a single number.
        batches: what to train on.
        config: how.
        on_step: told of every step and epoch.
        measure: the metrics on held-out queries; without it the last weights are the best.
        checkpoint: where to write the state, and to go on from.

    Raises:
        EncoderFault: if the loss is not a number: the rate is too high, or the input holds NaN.
    """
    optimizers = make_optimizers(model, config)
    progress, best = _restore(model, optimizers, checkpoint, config, on_step)
    share_weights(model)
    started = saved = time.monotonic()
    while not _finished(progress, config):
        first = progress.epoch == 0 and not progress.history
        loss = None if first else _run_epoch(model, batches, config, progress, optimizers, on_step)
        metrics = share(dict(measure())) if measure else {}
        improved = _judge(progress, metrics, config)
        if improved and measure:
            best = _cloned(
                model
            )  # a reference would follow the weights, and early stopping would keep the last
        _tell(progress, config, loss, metrics, improved, time.monotonic() - started, on_step)
        due = time.monotonic() - saved >= config.checkpoint_every_s or _finished(progress, config)
        if share(due) and checkpoint and rank() == 0:
            checkpoint.write(_state(model, optimizers, progress, best))
            saved = time.monotonic()
    if best is not None:
        model.load_state_dict(best)
    return progress


def _run_epoch(
    model: nn.Module,
    batches: Batches[Any],
    config: LoopConfig,
    progress: Progress,
    optimizers: Optimizers,
    on_step: OnEvent,
) -> float:
    model.train()
    steps = config.epochs * batches.steps_per_epoch
    total = 0.0
    for number, batch in enumerate(batches.epoch(progress.epoch + 1)):
        step = progress.epoch * batches.steps_per_epoch + number
        rate = progress.rate_factor * learning_rate(step, steps, config)
        set_learning_rate(optimizers, rate)
        loss = _step(model, batch, optimizers, config)
        total += loss
        on_step(StepDone(stage=config.stage, step=step + 1, steps=steps, loss=loss, learning_rate=rate))
    progress.epoch += 1
    model.eval()
    return total / batches.steps_per_epoch


def _step(model: nn.Module, batch: Any, optimizers: Optimizers, config: LoopConfig) -> float:
    model.zero_grad(set_to_none=True)
    loss: Tensor = model(batch)
    value = float(loss.detach())
    if value != value or value in (float("inf"), float("-inf")):
        raise EncoderFault(f"stage {config.stage!r}: the loss became {value}: lower the learning rate")
    loss.backward()  # type: ignore[no-untyped-call]
    for parameter in model.parameters():
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()  # once, for all that follows
    sum_gradients(model)
    if config.clip_norm:
        clip_gradients(model, config.clip_norm)
    for optimizer in optimizers:
        optimizer.step()
    return value


def _judge(progress: Progress, metrics: Mapping[str, float], config: LoopConfig) -> bool:
    """Take note of an epoch's metric, and tell whether it is the best so far."""
    if config.watched not in metrics or metrics[config.watched] > progress.best_metric:
        progress.best_metric = metrics.get(config.watched, float("-inf"))
        progress.best_epoch, progress.bad_epochs = progress.epoch, 0
        return True
    progress.bad_epochs += 1
    if config.scheduler == "plateau":
        progress.rate_factor *= PLATEAU_FACTOR
    return False


def _finished(progress: Progress, config: LoopConfig) -> bool:
    if not progress.history:
        return False
    stopped = config.patience > 0 and progress.bad_epochs >= config.patience
    return progress.epoch >= config.epochs or stopped


def _tell(
    progress: Progress,
    config: LoopConfig,
    loss: float | None,
    metrics: Mapping[str, float],
    improved: bool,
    seconds: float,
    on_step: OnEvent,
) -> None:
    progress.history.append({"epoch": progress.epoch, "loss": loss, **metrics})
    on_step(
        EpochDone(
            stage=config.stage,
            epoch=progress.epoch,
            epochs=config.epochs,
            loss=loss,
            metrics=metrics,
            improved=improved,
            seconds=seconds,
        )
    )


def _cloned(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _state(
    model: nn.Module, optimizers: Optimizers, progress: Progress, best: dict[str, Tensor] | None
) -> State:
    return {
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "generator": torch.get_rng_state(),
        "best": best,
        "progress": {name: getattr(progress, name) for name in Progress.__slots__},
    }


def _restore(
    model: nn.Module,
    optimizers: Optimizers,
    checkpoint: CheckpointFile | None,
    config: LoopConfig,
    on_step: OnEvent,
) -> tuple[Progress, dict[str, Tensor] | None]:
    state = checkpoint.read() if checkpoint else None
    if state is None:
        return Progress(), None
    model.load_state_dict(state["model"])
    for optimizer, stored in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(stored)
    torch.set_rng_state(state["generator"])
    progress = Progress(**state["progress"])
    on_step(Resumed(stage=config.stage, epoch=progress.epoch))
    return progress, state["best"]
