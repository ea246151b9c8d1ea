"""`bench train`: what a training costs and what it gives, through the command line, on held-out queries."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from evaluation.bench.processes import run_command
from evaluation.bench.result import BenchResult, BenchTable, machine_line
from evaluation.bench.workspaces import copy_workspace
from evaluation.evaluate import evaluate
from evaluation.results import Evaluation
from retrieval.collections import require_collection
from retrieval.workspace import Workspace

OnStep: TypeAlias = Callable[[str], None]

# Name -> arguments of `train two-tower`: what a user chooses between first.
RECIPES: dict[str, tuple[str, ...]] = {
    "mlp from static vectors": ("--init", "static"),
    "mlp from CBOW trained here": ("--init", "cbow"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainPoint:
    """One recipe, trained, indexed and evaluated."""

    recipe: str
    arguments: Sequence[str]
    train_s: float
    train_cpu_s: float
    peak_mb: float
    index_s: float
    n: int
    mrr: float  # MRR@10 as served, full corpus
    low: float
    high: float
    exact_mrr: float  # by exact search
    ndcg: float
    bm25_mrr: float
    hybrid_mrr: float
    chance: float

    def to_json(self) -> dict[str, Any]:
        """Give the figures."""
        return asdict(self)


def bench_train(root: Path, collection: str, on_step: OnStep | None = None) -> BenchResult:
    """Train two-towers on a collection, in a copy of its workspace, and evaluate each on the test split.

    Args:
        root: the workspace; it is not changed.
        collection: with judged queries.
        on_step: called with what begins now, for people.

    Raises:
        CollectionNotFound: if there is no such collection.
        InternalError: if a command fails, such as a training without queries.
    """
    on_step = on_step or (lambda step: None)
    machine = machine_line()
    with Workspace(root) as ws:
        require_collection(ws, collection)
    points = []
    for number, (recipe, arguments) in enumerate(RECIPES.items()):
        on_step(f"train: {recipe}")
        with tempfile.TemporaryDirectory() as folder:
            copy_workspace(root, Path(folder))
            points.append(_measure(Path(folder), collection, f"bench-{number}", recipe, arguments))
    return BenchResult(
        name="train",
        machine=machine,
        tables=[_table(collection, points)],
        figures={"recipes": [point.to_json() for point in points]},
    )


def _measure(root: Path, collection: str, name: str, recipe: str, arguments: Sequence[str]) -> TrainPoint:
    trained = run_command(root, "train", "two-tower", collection, "--name", name, *arguments)
    indexed = run_command(root, "index", collection, "--encoder", name, "--no-promote")
    with Workspace(root) as ws:
        hybrid: Evaluation = evaluate(ws, collection, encoder=name, hybrid=True, record=False)
    dense = hybrid.dense or hybrid.scores
    low, high = dense.intervals["MRR@10"]
    return TrainPoint(
        recipe=recipe,
        arguments=arguments,
        train_s=trained.seconds,
        train_cpu_s=trained.cpu_s,
        peak_mb=trained.peak_rss_mb,
        index_s=indexed.seconds,
        n=hybrid.n,
        mrr=dense.metrics["MRR@10"],
        low=low,
        high=high,
        exact_mrr=hybrid.exact.metrics["MRR@10"],
        ndcg=dense.metrics["nDCG@10"],
        bm25_mrr=hybrid.bm25.metrics["MRR@10"],
        hybrid_mrr=hybrid.scores.metrics["MRR@10"],
        chance=hybrid.chance["MRR@10"],
    )


def _table(collection: str, points: Sequence[TrainPoint]) -> BenchTable:
    return BenchTable(
        f"Two-towers on {collection}, test queries, full corpus",
        [
            "recipe",
            "train s",
            "CPU s",
            "peak MB",
            "n",
            "MRR@10",
            "exact search",
            "nDCG@10",
            "hybrid",
            "BM25",
            "chance",
        ],
        [
            [
                point.recipe,
                f"{point.train_s:.0f}",
                f"{point.train_cpu_s:.0f}",
                f"{point.peak_mb:,.0f}",
                f"{point.n:,}",
                f"{point.mrr:.3f} [{point.low:.3f}, {point.high:.3f}]",
                f"{point.exact_mrr:.3f}",
                f"{point.ndcg:.3f}",
                f"{point.hybrid_mrr:.3f}",
                f"{point.bm25_mrr:.3f}",
                f"{point.chance:.4f}",
            ]
            for point in points
        ],
    )
