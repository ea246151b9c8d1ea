"""Searching for a better configuration with Optuna, on validation queries only."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from encoders.card import EncoderCard
from encoders.training.config import TwoTowerConfig
from encoders.training.data import read_training_data
from encoders.training.events import EpochDone, Event, OnEvent, ignore
from encoders.training.fit import Neighbours, Training, fit
from encoders.training.registering import digest_of
from encoders.training.two_tower import train_two_tower
from retrieval.errors import EncoderFault, InvalidTrainingData, MissingExtra
from retrieval.workspace import Workspace

WATCHED = "validation.MRR@10"
HIDDEN = (128, 256, 384, 512, 640, 768)  # the seed's range
BATCHES = (128, 256, 512, 1024)
_PRUNED_AFTER = 4  # trials that every sweep finishes, to compare the others with


@dataclass(frozen=True, slots=True)
class Trial:
    """One configuration that was tried."""

    number: int
    changed: Mapping[str, Any]  # what differs from the sweep's own configuration
    score: float | None  # None: it was given up
    best_score: float | None


def sweep_two_tower(
    ws: Workspace,
    collection: str,
    config: TwoTowerConfig,
    *,
    name: str,
    trials: int,
    neighbours: Neighbours | None = None,
    on_trial: Callable[[Trial], None] = lambda trial: None,
    on_progress: OnEvent = ignore,
) -> EncoderCard:
    """Try configurations, then train the best one and register it.

    Trials are kept on disk: interrupted, the same call goes on where it was.

    Raises:
        InvalidTrainingData: if the data cannot be trained on, or has too few queries to compare on.
        MissingExtra: if Optuna is not installed.
    """
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise MissingExtra("a sweep", "train") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    data = replace(read_training_data(ws, collection, skip_missing=config.skip_missing), test=())
    if not data.validation:
        raise InvalidTrainingData(f"collection {collection!r} has no validation queries to compare trials on")
    folder = ws.models / name / f".sweep-{digest_of(config.record(), data.digest)[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(folder / "trials.log"))),
        study_name="sweep",
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=config.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_PRUNED_AFTER),
        load_if_exists=True,
    )

    def tell(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        scores = [done.value for done in study.trials if done.value is not None]
        on_trial(Trial(trial.number, trial.params, trial.value, max(scores, default=None)))

    finished = sum(trial.state.is_finished() for trial in study.trials)
    study.optimize(
        lambda trial: _try(trial, Training(data, config, folder, on_progress, neighbours)),
        n_trials=max(0, trials - finished),
        callbacks=[tell],
    )
    best = study.best_params if any(trial.value is not None for trial in study.trials) else {}
    card = train_two_tower(
        ws, collection, replace(config, **best), name=name, neighbours=neighbours, on_progress=on_progress
    )
    shutil.rmtree(folder, ignore_errors=True)
    return card


def _try(trial: Any, base: Training) -> float:
    """Train one configuration and return its score.

    Raises:
        optuna.TrialPruned: if it is behind the others, or diverged: a bad trial is not a bad sweep.
    """
    from optuna import TrialPruned

    def watch(event: Event) -> None:
        base.on_progress(event)
        if isinstance(event, EpochDone) and event.stage == "questions":
            trial.report(event.metrics.get("MRR@10", 0.0), event.epoch)
            if trial.should_prune():
                raise TrialPruned

    config = replace(base.config, **suggest(trial, base.config))
    training = Training(base.data, config, base.work / f"trial-{trial.number}", watch, base.neighbours)
    try:
        fit(training)
    except EncoderFault as error:
        raise TrialPruned from error
    finally:
        shutil.rmtree(training.work, ignore_errors=True)
    return training.metrics[WATCHED]


def suggest(trial: Any, config: TwoTowerConfig) -> dict[str, Any]:
    """Choose what a trial changes, within the seed's ranges; a loss is only asked for what it reads."""
    changed = {
        "hidden_dims": trial.suggest_categorical(
            "hidden_dims", (0, *HIDDEN) if config.tower == "mlp" else HIDDEN
        ),
        "dropout": trial.suggest_float("dropout", 0.0, 0.5),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        "batch_size": trial.suggest_categorical("batch_size", BATCHES),
    }
    if config.tower != "mlp":
        changed["layers"] = trial.suggest_int("layers", 1, 4)
    if config.loss == "contrastive":
        changed["temperature"] = trial.suggest_float("temperature", 0.02, 0.2, log=True)
    else:
        changed["margin"] = trial.suggest_float("margin", 0.05, 0.5)
    return changed
