"""Filtered search: recall and speed by how much matches, at random and in one region of the space."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.bench.result import BenchTable
from evaluation.bench.workspaces import copy_workspace
from retrieval.errors import TwinspireError
from retrieval.filters import Filter, Range
from retrieval.index import Vectors
from retrieval.items import Item, list_items, upsert_items
from retrieval.opening import OpenIndex, open_live
from retrieval.search import SearchParams, SearchResult, VectorQuery
from retrieval.searcher import Searcher
from retrieval.workspace import Workspace

SHARES = (0.5, 0.1, 0.01, 0.001)
_RANDOM, _REGION = "bench_random", "bench_region"  # attributes from 0 to 1: the share of items below
_QUERIES = 200
_BATCH = 64
_LIMIT = 10
_UPSERT_BATCH = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class FilteredPoint:
    """Search under one filter."""

    spread: str  # of the matching items: "random", "one region", or "" without a filter
    share: float  # of the items that match
    recall: float  # @10, against exact search under the same filter
    qps: float  # one query at a time
    qps_batch: float  # 64 at a time
    plan: str  # what the planner chose for the first query

    def to_json(self) -> dict[str, Any]:
        """Give the figures."""
        return asdict(self)


def measure_filtered(root: Path, collection: str, vectors: Vectors, *, seed: int = 0) -> list[FilteredPoint]:
    """Measure filtered search in a copy of a workspace, where each item gets two more attributes.

    Args:
        root: the workspace.
        collection: with a live index.
        vectors: of queries, shape (n, dims).
        seed: of the random attribute.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy_workspace(root, Path(folder))
        with Workspace(Path(folder)) as ws:
            opened = open_live(ws, collection)
            assert opened is not None
            _add_attributes(ws, collection, opened, seed)
            searcher = Searcher(ws, collection, opened)
            queries = vectors[:_QUERIES]
            points = [_measure(searcher, queries, "", 1.0)]
            for spread, attribute in (("random", _RANDOM), ("one region", _REGION)):
                for share in SHARES:
                    condition = Filter(must=(Range(attribute=attribute, lt=share),))
                    points.append(_measure(searcher, queries, spread, share, condition))
            opened.index.close()
    return points


def _add_attributes(ws: Workspace, collection: str, opened: OpenIndex, seed: int) -> None:
    """Rank the items at random, and by nearness to one of them."""
    rng = np.random.default_rng(seed)
    keys = opened.index.keys
    pivot = opened.index.vectors(keys[[int(rng.integers(len(keys)))]])[0]
    nearness = np.concatenate(
        [opened.index.vectors(part) @ pivot for part in np.array_split(keys, max(1, len(keys) // 65_536))]
    )
    owners = dict(
        ws.fetch(
            "SELECT segments.rowid, items.rowid FROM items JOIN segments ON segments.item = items.rowid"
            " WHERE items.collection = ?",
            (collection,),
        )
    )
    region = dict(zip((owners.get(key) for key in keys.tolist()), _ranks(-nearness), strict=True))
    after = 0
    while items := list_items(ws, collection, after_rowid=after, limit=_UPSERT_BATCH):
        shares = rng.random(len(items))
        upsert_items(
            ws,
            collection,
            [
                Item(
                    item.id,
                    item.modality,
                    item.text,
                    item.uri,
                    {**item.attributes, _RANDOM: float(share), _REGION: float(region.get(item.rowid, 1.0))},
                )
                for item, share in zip(items, shares, strict=True)
            ],
        )
        after = items[-1].rowid


def _ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rank values from 0 to 1."""
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values)) / len(values)
    return ranks


def _measure(
    searcher: Searcher, vectors: Vectors, spread: str, share: float, condition: Filter | None = None
) -> FilteredPoint:
    queries = [VectorQuery(vector=vector, limit=_LIMIT, filter=condition) for vector in vectors]
    explained = _answers(searcher, [replace(queries[0], explain=True)], 1)[0]
    exact = [replace(query, params=SearchParams(exact=True)) for query in queries]
    _answers(searcher, queries[:_BATCH], _BATCH)  # finds which items match, once, and warms the caches
    found, qps_batch = _timed(searcher, queries, _BATCH)
    _, qps = _timed(searcher, queries, 1)
    return FilteredPoint(
        spread=spread,
        share=share,
        recall=_recall(found, _answers(searcher, exact, _BATCH)),
        qps=qps,
        qps_batch=qps_batch,
        plan=str((explained.hits[0].explanation or {}).get("plan", "")) if explained.hits else "",
    )


def _timed(
    searcher: Searcher, queries: Sequence[VectorQuery], batch: int
) -> tuple[list[SearchResult], float]:
    started = time.perf_counter()
    results = _answers(searcher, queries, batch)
    return results, len(queries) / (time.perf_counter() - started)


def _answers(searcher: Searcher, queries: Sequence[VectorQuery], batch: int) -> list[SearchResult]:
    results: list[SearchResult] = []
    for start in range(0, len(queries), batch):
        for result in searcher.search(queries[start : start + batch]):
            if isinstance(result, TwinspireError):
                raise result
            results.append(result)
    return results


def _recall(found: Sequence[SearchResult], truth: Sequence[SearchResult]) -> float:
    """Count hits that are as near as the last true one: among equals none is the right one."""
    shares = []
    for result, true in zip(found, truth, strict=True):
        if true.hits:
            least = true.hits[-1].score - 1e-6
            shares.append(sum(hit.score >= least for hit in result.hits) / len(true.hits))
    return float(np.mean(shares)) if shares else 1.0


# What the graph alone does under a filter at effort 200, and FAISS's scan of the matching rows, by spread and
# share: recall@10, and queries a second (docs/decisions/021-filtered-search.md).
_GRAPH_RECALL = {
    ("random", 0.5): 0.994,
    ("random", 0.1): 0.975,
    ("random", 0.01): 0.73,
    ("random", 0.001): 0.26,
    ("one region", 0.1): 0.78,
    ("one region", 0.01): 0.37,
    ("one region", 0.001): 0.12,
}
_SCAN_QPS = {0.1: 850, 0.01: 16_000, 0.001: 120_000}


def filtered_table(points: Sequence[FilteredPoint]) -> BenchTable:
    """Lay the points out, beside the search without a filter and what a graph or a scan alone would do."""
    bare = next((point for point in points if not point.spread), None)
    return BenchTable(
        "Filtered search in process (search and fetch); right: one way alone, 200,000 x 256, one core",
        [
            "filter matches",
            "recall@10",
            "QPS one by one",
            "QPS in batches of 64",
            "of the unfiltered",
            "plan",
            "graph alone, recall",
            "scan alone, QPS",
        ],
        [
            [
                f"{point.share:.1%}, {point.spread}" if point.spread else "everything (no filter)",
                f"{point.recall:.4f}",
                f"{point.qps:,.0f}",
                f"{point.qps_batch:,.0f}",
                f"{point.qps_batch / bare.qps_batch:.2f}" if bare else "",
                point.plan,
                _known(_GRAPH_RECALL.get((point.spread, point.share))),
                _known(_SCAN_QPS.get(point.share) if point.spread else None),
            ]
            for point in points
        ],
    )


def _known(value: float | None) -> str:
    return "" if value is None else f"{value:,}"
