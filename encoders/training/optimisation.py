"""Optimisers and learning rates."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from encoders.fields import check_above_zero, check_at_least, check_choice
from encoders.training.row_adam import RowAdam

OptimizerKind: TypeAlias = Literal["adamw", "adam", "sgd"]
SchedulerKind: TypeAlias = Literal["cosine", "step", "plateau", "none"]

STEP_EVERY = 0.3  # of all steps
STEP_FACTOR = 0.1
PLATEAU_FACTOR = 0.5
FINAL_FRACTION = 0.0  # of the peak, at the end of the cosine


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """How a stage of training runs, whatever it trains."""

    stage: str
    epochs: int
    learning_rate: float
    optimizer: OptimizerKind = "adamw"
    scheduler: SchedulerKind = "cosine"
    betas: tuple[float, float] = (0.9, 0.98)  # a short second memory: the stages have few steps
    row_betas: tuple[float, float] = (0.0, 0.98)  # of word tables: a momentum would only ever see one step
    weight_decay: float = 0.0
    warmup_steps: int = 10
    clip_norm: float = 1.0  # 0 = no clipping
    patience: int = 0  # epochs without improvement before it stops; 0 = never
    watched: str = "MRR@10"  # the metric that decides which weights are best
    checkpoint_every_s: float = 20.0  # at the end of an epoch, when the last is this old

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InvalidInput: naming the first one that is out of range.
        """
        check_choice(self, optimizer=OptimizerKind, scheduler=SchedulerKind)
        check_above_zero(self, "learning_rate", "epochs")
        not_negative = ("weight_decay", "warmup_steps", "clip_norm", "patience", "checkpoint_every_s")
        check_at_least(self, dict.fromkeys(not_negative, 0))


def learning_rate(step: int, steps: int, config: LoopConfig) -> float:
    """Return the rate of a step, from 0, of a stage of `steps` steps.

    `plateau` is constant here: the loop halves it when the watched metric does not improve.

    >>> config = LoopConfig(stage="x", epochs=1, learning_rate=1.0, warmup_steps=2)
    >>> [round(learning_rate(step, 4, config), 2) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    if config.scheduler == "cosine":
        wave = 0.5 * (1 + math.cos(math.pi * done))
        return config.learning_rate * (FINAL_FRACTION + (1 - FINAL_FRACTION) * wave)
    if config.scheduler == "step":
        return config.learning_rate * STEP_FACTOR ** int(done / STEP_EVERY)
    return config.learning_rate


def make_optimizers(model: nn.Module, config: LoopConfig) -> list[torch.optim.Optimizer]:
    """Make the optimiser, and another for tables with sparse gradients.

    Matrices decay; biases do not, nor do tables, whose rows would fade while no batch needs them.
    A module may name its tables in `sparse_parameters`, and scale the rate of parameters by their name's
    beginning in `rate_scales`.
    """
    scales: dict[str, float] = getattr(model, "rate_scales", {})
    sparse: Collection[str] = getattr(model, "sparse_parameters", ())
    groups: list[dict[str, Any]] = [
        {
            "params": [parameter],
            "weight_decay": config.weight_decay if parameter.ndim > 1 and name not in sparse else 0.0,
            "sparse": name in sparse,
            "rate_scale": next((s for prefix, s in scales.items() if name.startswith(prefix)), 1.0),
        }
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    ]
    dense, tables = ([group for group in groups if group["sparse"] is kind] for kind in (False, True))
    made: list[torch.optim.Optimizer] = []
    if config.optimizer == "sgd":
        made += [torch.optim.SGD(dense, lr=config.learning_rate, momentum=0.9)] if dense else []
        made += [torch.optim.SGD(tables, lr=config.learning_rate)] if tables else []
        return made
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    made += [kind(dense, lr=config.learning_rate, betas=config.betas, fused=True)] if dense else []
    made += [RowAdam(tables, lr=config.learning_rate, betas=config.row_betas)] if tables else []
    return made


def set_learning_rate(optimizers: list[torch.optim.Optimizer], rate: float) -> None:
    """Set the rate of each group, times its own factor."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group["rate_scale"]


@torch.no_grad()
def clip_gradients(model: nn.Module, largest_norm: float) -> None:
    """Scale all gradients down so that their common length is at most `largest_norm`; sparse ones too."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    values = [g.values() if g.is_sparse else g for g in gradients]
    norm = float(torch.stack([v.norm() for v in values]).norm())
    if norm > largest_norm:
        for value in values:
            value.mul_(largest_norm / norm)
