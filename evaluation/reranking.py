"""Ranking a query's own candidates: what published figures often measure, told apart from search."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.chance import reciprocal_rank_by_chance
from evaluation.intervals import bootstrap_interval
from evaluation.metrics import measure
from evaluation.results import Reranking
from evaluation.runs import Qrels, RetrievalRun, ranked
from retrieval.collections import collection_rowid
from retrieval.embeddings import embeddings_of
from retrieval.index import Vectors
from retrieval.judgements import JudgedQuery
from retrieval.lexical_batch import LexicalBatch
from retrieval.segments import not_superseded
from retrieval.workspace import Workspace

_CUT = 10


@dataclass(frozen=True, slots=True)
class JudgedItems:
    """The judged items that are in the collection, with the vectors of their segments."""

    rowids: Mapping[str, int]  # item id -> item rowid
    vectors: Mapping[str, Vectors]  # item id -> its segments' vectors, shape (segments, dims)

    def cosine(self, id: str, query: Vectors) -> float | None:
        """Score an item by its best segment, as search does; None if it has no vector."""
        segments = self.vectors.get(id)
        return None if segments is None else float((segments @ query).max())


def read_judged_items(
    ws: Workspace, collection: str, fingerprint: str, ids: Sequence[str], window_s: float | None = None
) -> JudgedItems:
    """Read what is known of these items, in two statements.

    Args:
        ws: the workspace.
        collection: of the items.
        fingerprint: of the encoder.
        ids: of the items.
        window_s: of the index version that is measured; None means the one to come.

    Raises:
        CollectionNotFound: if there is no such collection.
        ModelNotFound: if nothing was encoded under the fingerprint.
    """
    collection_rowid(ws, collection)
    rows = ws.fetch(
        "SELECT items.id, items.rowid, segments.rowid FROM json_each(?) AS wanted"
        " CROSS JOIN items ON items.collection = ? AND items.id = wanted.value"
        f" CROSS JOIN segments ON segments.item = items.rowid AND {not_superseded(window_s)}",
        (json.dumps(sorted(set(ids)), ensure_ascii=False), collection),
    )
    owners = {key: id for id, _, key in rows}
    keys, vectors = embeddings_of(ws, fingerprint, list(owners))
    parts: dict[str, list[Vectors]] = {}
    for key, vector in zip(keys.tolist(), vectors, strict=True):
        parts.setdefault(owners[key], []).append(vector)
    return JudgedItems(
        {id: rowid for id, rowid, _ in rows}, {id: np.stack(part) for id, part in parts.items()}
    )


def rerank(
    queries: Sequence[JudgedQuery],
    vectors: Vectors,
    items: JudgedItems,
    lexical: LexicalBatch,
    *,
    seed: int = 0,
) -> Reranking | None:
    """Measure how well each query orders its own candidates.

    Only queries with a relevant and another candidate in the collection have anything to order; None if
    there is none.
    """
    chosen: list[tuple[JudgedQuery, Vectors, list[str]]] = []
    for query, vector in zip(queries, vectors, strict=True):
        candidates = [id for id in query.grades if id in items.vectors]
        relevant = sum(query.grades[id] > 0 for id in candidates)
        if 0 < relevant < len(candidates):
            chosen.append((query, vector, candidates))
    if not chosen:
        return None
    qrels = {query.id: {id: query.grades[id] for id in ids} for query, _, ids in chosen}
    runs = [_by_cosine(chosen, items), _by_bm25(chosen, items, lexical)]
    values = np.stack([measure(run, qrels).column(f"MRR@{_CUT}") for run in runs], axis=1)
    low, high = bootstrap_interval(values, seed=seed)
    return Reranking(
        queries=len(chosen),
        candidates=float(np.mean([len(ids) for _, _, ids in chosen])),
        chance=_chance(qrels),
        mrr={run.name: float(mean) for run, mean in zip(runs, values.mean(axis=0), strict=True)},
        intervals={run.name: (float(low[place]), float(high[place])) for place, run in enumerate(runs)},
    )


def _by_cosine(chosen: Sequence[tuple[JudgedQuery, Vectors, list[str]]], items: JudgedItems) -> RetrievalRun:
    return RetrievalRun(
        "dense",
        {
            query.id: ranked({id: float((items.vectors[id] @ vector).max()) for id in ids})
            for query, vector, ids in chosen
        },
    )


def _by_bm25(
    chosen: Sequence[tuple[JudgedQuery, Vectors, list[str]]], items: JudgedItems, lexical: LexicalBatch
) -> RetrievalRun:
    scores = lexical.scores(
        [query.text for query, _, _ in chosen], [[items.rowids[id] for id in ids] for _, _, ids in chosen]
    )
    return RetrievalRun(
        "bm25",
        {
            query.id: ranked(dict(zip(ids, row, strict=True)))
            for (query, _, ids), row in zip(chosen, scores, strict=True)
        },
    )


def _chance(qrels: Qrels) -> float:
    return float(
        np.mean(
            [
                reciprocal_rank_by_chance(sum(grade > 0 for grade in grades.values()), len(grades), _CUT)
                for grades in qrels.values()
            ]
        )
    )
