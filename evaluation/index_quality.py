"""What the index itself costs: recall against exact search, over effort; and how scores spread."""

import time
from collections.abc import Sequence

import numpy as np

from evaluation.reranking import JudgedItems
from evaluation.results import EffortPoint, ScoreSamples
from evaluation.runs import RetrievalRun
from retrieval.index import Vectors
from retrieval.index_build import exact_scores, recalls
from retrieval.judgements import JudgedQuery
from retrieval.opening import OpenIndex

EFFORTS = (8, 16, 32, 64, 128, 256, 512)
_TRIES = 3  # a point takes the fastest, as a busy machine only ever slows one down
_FIRST = 10
_RANDOM_ITEMS = 20  # per query


def ann_recall(opened: OpenIndex, vectors: Vectors) -> float:
    """Measure recall@10 against exact search at the effort that is served."""
    if not len(opened.index.keys):
        return 1.0
    truth = exact_scores(opened.index, vectors)
    return float(recalls(opened.index, vectors, truth, 0).mean())


def measure_efforts(opened: OpenIndex, vectors: Vectors) -> list[EffortPoint]:
    """Measure recall@10 and speed at several efforts; nothing for an index that always looks everywhere."""
    parameters = opened.manifest.parameters
    if parameters.kind == "flat" or not len(opened.index.keys):
        return []
    limit = parameters.nlist if parameters.kind == "ivf" else EFFORTS[-1]
    efforts = sorted({min(effort, limit) for effort in EFFORTS} | {parameters.effort})
    truth = exact_scores(opened.index, vectors)
    return [
        EffortPoint(
            effort,
            float(recalls(opened.index, vectors, truth, effort).mean()),
            _queries_per_second(opened, vectors, effort),
            effort == parameters.effort,
        )
        for effort in efforts
    ]


def _queries_per_second(opened: OpenIndex, vectors: Vectors, effort: int) -> float:
    fastest = float("inf")
    for _ in range(_TRIES):
        started = time.perf_counter()
        opened.index.search(vectors, _FIRST, effort=effort)
        fastest = min(fastest, time.perf_counter() - started)
    return len(vectors) / fastest


def sample_scores(
    opened: OpenIndex,
    queries: Sequence[JudgedQuery],
    vectors: Vectors,
    run: RetrievalRun,
    items: JudgedItems,
    *,
    seed: int = 0,
) -> ScoreSamples:
    """Collect cosines of the queries with relevant items, with other items found, and with random ones.

    Args:
        opened: the index.
        queries: judged.
        vectors: their encodings, shape (queries, dims).
        run: what dense search found for them.
        items: their judged items.
        seed: of the random items.
    """
    relevant: list[float] = []
    retrieved: list[float] = []
    for query, vector in zip(queries, vectors, strict=True):
        good = {id for id, grade in query.grades.items() if grade > 0}
        cosines = (items.cosine(id, vector) for id in good)
        relevant += [cosine for cosine in cosines if cosine is not None]
        retrieved += [item.score for item in run.rankings[query.id][:_FIRST] if item.id not in good]
    rng = np.random.default_rng(seed)
    keys = opened.index.keys
    drawn = np.sort(rng.choice(keys, size=min(len(keys), 2000), replace=False))
    others = opened.index.vectors(drawn)
    picks = rng.integers(0, len(drawn), size=(len(vectors), _RANDOM_ITEMS)) if len(drawn) else None
    cosines = np.einsum("qd,qrd->qr", vectors, others[picks]).ravel() if picks is not None else []
    return ScoreSamples(
        relevant=np.array(relevant, dtype=np.float32),
        retrieved=np.array(retrieved, dtype=np.float32),
        random=np.asarray(cosines, dtype=np.float32),
    )
