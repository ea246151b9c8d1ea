"""The training loop, on a model of one number."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from encoders.training.events import EpochDone, Event, StepDone
from encoders.training.loop import train
from encoders.training.optimisation import LoopConfig, clip_gradients, learning_rate
from retrieval.errors import EncoderFault, InvalidInput


class Line(nn.Module):
    """Learns to multiply by three."""

    def __init__(self, dropout: float = 0.0, start: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.tensor([start]))
        self.dropout = nn.Dropout(dropout)

    def forward(self, points: Tensor) -> Tensor:
        loss: Tensor = (self.dropout(self.weight * points) - 3 * points).square().mean()
        return loss


class Points:
    steps_per_epoch = 3

    def epoch(self, number: int) -> Iterator[Tensor]:
        random = np.random.default_rng(number)
        for _ in range(3):
            yield torch.tensor(random.uniform(-1, 1, 8), dtype=torch.float32)


def silent(event: Event) -> None:
    """Tell nobody."""


def test_a_model_learns() -> None:
    model = Line()
    train(model, Points(), LoopConfig(stage="s", epochs=100, learning_rate=0.1), silent)

    assert float(model.weight.detach()) == pytest.approx(3, abs=0.05)


def test_the_best_weights_are_kept_and_not_the_last() -> None:
    model = Line()
    seen: list[float] = []

    def measure() -> dict[str, float]:
        seen.append(float(model.weight.detach()))
        return {"MRR@10": -abs(seen[-1] - 1)}  # best while passing 1, long before 3

    config = LoopConfig(stage="s", epochs=60, learning_rate=0.1, scheduler="none")
    progress = train(model, Points(), config, silent, measure=measure)

    best = min(seen, key=lambda weight: abs(weight - 1))
    assert float(model.weight.detach()) == pytest.approx(best)
    assert seen[-1] > 2
    assert 0 < progress.best_epoch < 60


def test_weights_that_training_only_made_worse_are_not_kept() -> None:
    model = Line(start=5.0)
    train(
        model,
        Points(),
        LoopConfig(stage="s", epochs=3, learning_rate=0.1),
        silent,
        measure=lambda: {"MRR@10": float(model.weight.detach())},
    )

    assert float(model.weight.detach()) == 5.0


def test_it_stops_when_nothing_improves() -> None:
    epochs: list[int] = []

    def listen(event: Event) -> None:
        if isinstance(event, EpochDone):
            epochs.append(event.epoch)

    config = LoopConfig(stage="s", epochs=50, learning_rate=0.1, patience=2)
    train(Line(), Points(), config, listen, measure=lambda: {"MRR@10": 0.5})

    assert epochs == [0, 1, 2]


def test_a_plateau_halves_the_rate() -> None:
    rates: list[float] = []

    def listen(event: Event) -> None:
        if isinstance(event, StepDone):
            rates.append(event.learning_rate)

    config = LoopConfig(stage="s", epochs=3, learning_rate=0.1, scheduler="plateau", warmup_steps=0)
    train(Line(), Points(), config, listen, measure=lambda: {"MRR@10": 0.5})

    assert rates == pytest.approx([0.1] * 3 + [0.05] * 3 + [0.025] * 3)


def test_a_diverged_training_says_so() -> None:
    model = Line(start=float("nan"))
    with pytest.raises(EncoderFault, match="lower the learning rate"):
        train(model, Points(), LoopConfig(stage="s", epochs=1, learning_rate=1), silent)


@pytest.mark.parametrize(
    ("scheduler", "rates"),
    [
        ("cosine", [0.5, 1, 1, 0.854, 0.5, 0.146]),
        ("step", [0.5, 1, 1, 1, 0.1, 0.01]),
        ("none", [0.5, 1, 1, 1, 1, 1]),
    ],
)
def test_the_rate_follows_its_scheduler(scheduler: str, rates: list[float]) -> None:
    config = LoopConfig(
        stage="s",
        epochs=1,
        learning_rate=1,
        warmup_steps=2,
        scheduler=scheduler,  # type: ignore[arg-type]
    )

    assert [learning_rate(step, 6, config) for step in range(6)] == pytest.approx(rates, abs=1e-3)


def test_gradients_are_clipped_together() -> None:
    model = nn.Linear(2, 1)
    (model(torch.tensor([[300.0, 400.0]]))).sum().backward()
    clip_gradients(model, 1.0)

    gradients = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])  # type: ignore[union-attr]
    assert float(gradients.norm()) == pytest.approx(1)


@pytest.mark.parametrize("field", ["epochs", "learning_rate"])
def test_a_loop_needs_something_to_do(field: str) -> None:
    values = {"stage": "s", "epochs": 1, "learning_rate": 0.1} | {field: 0}
    with pytest.raises(InvalidInput, match=field):
        LoopConfig(**values)  # type: ignore[arg-type]
