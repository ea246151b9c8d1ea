"""What was trained and evaluated: models and runs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.errors import Conflict, InvalidInput, ModelNotFound
from retrieval.workspace import Workspace, now

# Metrics of which less is more, by the beginning of their last part: "validation.loss", "rmse_log".
LESS_IS_BETTER = (
    "loss",
    "cost",
    "rmse",
    "mae",
    "mse",
    "fpr",
    "fnr",
    "error",
    "latency",
    "seconds",
    "perplexity",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """A registered model version."""

    name: str
    version: int
    kind: str
    fingerprint: str
    metrics: Mapping[str, float]
    created_at: str
    folder: Path

    @property
    def reference(self) -> str:
        """The name by which people call it: `name@version`."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A training or an evaluation, with what is needed to do it again."""

    id: int
    kind: str
    collection: str
    model: str
    config: Mapping[str, Any]
    seed: int
    data_digest: str
    metrics: Mapping[str, Any]
    artifacts: Mapping[str, Any]
    created_at: str


def more_is_better(metric: str) -> bool:
    """Tell in which direction a metric improves.

    >>> more_is_better("MRR@10"), more_is_better("validation.loss"), more_is_better("rmse_log")
    (True, False, False)
    """
    parts = metric.lower().replace("/", ".").replace("_", ".").split(".")
    return not any(part.startswith(LESS_IS_BETTER) for part in parts)


def model_folder(ws: Workspace, name: str, version: int) -> Path:
    """Return where a model's files are."""
    return ws.models / name / str(version)


def next_model_version(ws: Workspace, name: str) -> int:
    """Return the number of the next version of a model; folders that were never registered count too."""
    (last,) = ws.fetch("SELECT coalesce(max(version), 0) FROM models WHERE name = ?", (name,))[0]
    folder = ws.models / name
    there = folder.iterdir() if folder.is_dir() else ()
    return max([int(last), *(int(file.name) for file in there if file.name.isdigit())]) + 1


def register_model(
    ws: Workspace,
    name: str,
    version: int,
    kind: str,
    fingerprint: str,
    metrics: Mapping[str, float],
) -> ModelRow:
    """Register a model whose files are complete. Again with the same fingerprint: only its metrics change.

    Raises:
        InvalidInput: if the name is empty or holds a character that a folder's name may not.
        Conflict: if another model has this name and version.
    """
    if not name or name.startswith(".") or set(name) & set("/\\@\0"):
        raise InvalidInput(f"model name: expected no '/', '\\\\' or '@', got {name!r}", field="name")
    with ws.atomic() as db:
        rows = ws.fetch("SELECT fingerprint FROM models WHERE name = ? AND version = ?", (name, version))
        if rows and rows[0][0] != fingerprint:
            raise Conflict(f"model {name}@{version} is registered already, with another fingerprint")
        db.execute(
            "INSERT INTO models(name, version, kind, fingerprint, metrics, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT(name, version) DO UPDATE SET metrics = excluded.metrics",
            (name, version, kind, fingerprint, json.dumps(dict(metrics)), now()),
        )
    return find_model(ws, f"{name}@{version}")


def list_models(ws: Workspace, *, order_by: str | None = None) -> list[ModelRow]:
    """List models, newest first, or the best first by a metric; those without the metric come last.

    Raises:
        InvalidInput: if no model has the metric.
    """
    models = _models(ws, "ORDER BY rowid DESC", ())
    if order_by is None:
        return models
    known = sorted({name for model in models for name in model.metrics})
    if models and order_by not in known:
        raise InvalidInput(
            f"no model has the metric {order_by!r}: expected one of {', '.join(known) or 'none'}",
            field="order_by",
        )
    sign = -1 if more_is_better(order_by) else 1
    return sorted(
        models,
        key=lambda model: sign * model.metrics[order_by] if order_by in model.metrics else float("inf"),
    )


def find_model(ws: Workspace, reference: str) -> ModelRow:
    """Find a model by `name@version`, or the newest version by `name`.

    Raises:
        ModelNotFound: if there is none.
    """
    name, _, version = reference.partition("@")
    if version and not version.isdigit():
        raise ModelNotFound(f"there is no model {reference!r}: expected name or name@number")
    models = (
        _models(ws, "WHERE name = ? AND version = ?", (name, int(version)))
        if version
        else _models(ws, "WHERE name = ? ORDER BY version DESC LIMIT 1", (name,))
    )
    if not models:
        raise ModelNotFound(f"there is no model {reference!r}", model=reference)
    return models[0]


def model_by_fingerprint(ws: Workspace, fingerprint: str) -> ModelRow:
    """Find the model that makes vectors under a fingerprint.

    Raises:
        ModelNotFound: if there is none.
    """
    models = _models(ws, "WHERE fingerprint = ? ORDER BY rowid DESC LIMIT 1", (fingerprint,))
    if not models:
        raise ModelNotFound(f"there is no model with the fingerprint {fingerprint[:12]}")
    return models[0]


def _models(ws: Workspace, where: str, parameters: tuple[object, ...]) -> list[ModelRow]:
    rows = ws.fetch(
        f"SELECT name, version, kind, fingerprint, metrics, created_at FROM models {where}", parameters
    )
    return [
        ModelRow(
            name=name,
            version=version,
            kind=kind,
            fingerprint=fingerprint,
            metrics=json.loads(metrics),
            created_at=created_at,
            folder=model_folder(ws, name, version),
        )
        for name, version, kind, fingerprint, metrics, created_at in rows
    ]


def start_run(
    ws: Workspace,
    kind: str,
    *,
    collection: str = "",
    model: str = "",
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
    data_digest: str = "",
) -> int:
    """Record that a training or an evaluation begins, and return its id."""
    with ws.atomic() as db:
        run = db.execute(
            "INSERT INTO runs"
            "(kind, collection, model, config, seed, data_digest, metrics, artifacts, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, '{}', '{}', ?)",
            (kind, collection, model, json.dumps(dict(config or {})), seed, data_digest, now()),
        )
        return int(run.lastrowid or 0)


def finish_run(
    ws: Workspace,
    run: int,
    *,
    metrics: Mapping[str, Any],
    artifacts: Mapping[str, Any] | None = None,
    model: str | None = None,
) -> None:
    """Record what a run gave: its metrics, and the files or curves that it left."""
    with ws.atomic() as db:
        db.execute(
            "UPDATE runs SET metrics = ?, artifacts = ?, model = coalesce(?, model) WHERE rowid = ?",
            (json.dumps(dict(metrics)), json.dumps(dict(artifacts or {})), model, run),
        )


def list_runs(
    ws: Workspace, *, kind: str | None = None, collection: str | None = None, limit: int = 100
) -> list[RunRow]:
    """List runs, newest first."""
    rows = ws.fetch(
        "SELECT rowid, kind, collection, model, config, seed, data_digest, metrics, artifacts, created_at"
        " FROM runs WHERE (:kind IS NULL OR kind = :kind)"
        " AND (:collection IS NULL OR collection = :collection) ORDER BY rowid DESC LIMIT :limit",
        {"kind": kind, "collection": collection, "limit": limit},
    )
    return [
        RunRow(
            id=row[0],
            kind=row[1],
            collection=row[2],
            model=row[3],
            config=json.loads(row[4]),
            seed=row[5],
            data_digest=row[6],
            metrics=json.loads(row[7]),
            artifacts=json.loads(row[8]),
            created_at=row[9],
        )
        for row in rows
    ]
