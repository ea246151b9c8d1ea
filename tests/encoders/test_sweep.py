"""A sweep tries configurations on validation queries, and trains the best one."""

from collections.abc import Callable

from encoders.training.config import TwoTowerConfig
from encoders.training.sweep import Trial, sweep_two_tower
from retrieval.registry import list_models
from retrieval.workspace import Workspace


def test_a_sweep_registers_the_best_configuration(
    ws: Workspace, small: Callable[..., TwoTowerConfig]
) -> None:
    trials: list[Trial] = []
    config = small(corpus_steps=0, epochs=1)
    card = sweep_two_tower(ws, "docs", config, name="m", trials=3, on_trial=trials.append)

    scores = [trial.score for trial in trials if trial.score is not None]
    best = next(trial for trial in trials if trial.score == max(scores))
    assert len(trials) == 3
    assert {name: card.training[name] for name in best.changed} == dict(best.changed)
    assert card.metrics["validation.MRR@10"] == max(scores)
    assert len(list_models(ws)) == 1
    assert [file.name for file in (ws.models / "m").iterdir()] == ["1"]
