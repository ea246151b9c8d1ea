"""Keeps evaluations in the registry of runs, with the figures of each query beside it."""

import json
from typing import Any

from evaluation.metrics import METRICS
from evaluation.results import Evaluation
from retrieval.registry import finish_run, start_run
from retrieval.workspace import Workspace, translate_sqlite_errors

KIND = "evaluation"
PER_QUERY_FILE = "per_query.json"


def record_run(ws: Workspace, evaluation: Evaluation) -> int:
    """Record an evaluation and return the run's id.

    The figures of each query go to `runs/<id>/per_query.json` in the workspace.

    Raises:
        StorageFull: if the disk is full.
        UnusableWorkspace: if the workspace is read-only.
    """
    run = start_run(
        ws,
        KIND,
        collection=evaluation.collection,
        model=evaluation.model,
        config={
            "split": evaluation.split,
            "system": evaluation.scores.name,
            "index_version": evaluation.index_version,
            "encoder_fingerprint": evaluation.fingerprint,
        },
        seed=evaluation.seed,
        data_digest=evaluation.data_digest,
    )
    name = f"runs/{run}/{PER_QUERY_FILE}"
    file = ws.root / name
    with translate_sqlite_errors():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(_per_query(evaluation)), encoding="utf-8")
    finish_run(ws, run, metrics=_figures(evaluation), artifacts={"per_query": name})
    return run


def _figures(evaluation: Evaluation) -> dict[str, float]:
    figures = dict(evaluation.scores.metrics) | {"n": evaluation.n, "ann_recall@10": evaluation.ann_recall}
    return figures | {f"bm25.{metric}": value for metric, value in evaluation.bm25.metrics.items()}


def _per_query(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "queries": list(evaluation.scores.per_query.query_ids),
        "systems": {
            system.name: {metric: system.per_query.column(metric).round(6).tolist() for metric in METRICS}
            for system in evaluation.systems()
        },
    }
