"""The steps of one evaluation: encode, search, measure, set beside BM25 and chance."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from encoders.encoder import Encoder
from evaluation.chance import chance_levels
from evaluation.index_quality import ann_recall, measure_efforts, sample_scores
from evaluation.metrics import DEPTH
from evaluation.reranking import JudgedItems, read_judged_items, rerank
from evaluation.results import Evaluation, HardQuery, SystemScores, score_run
from evaluation.runners import bm25_run, search_run
from evaluation.runs import Qrels, RetrievalRun
from evaluation.training_curves import read_curves
from retrieval.content import Content
from retrieval.index import Vectors
from retrieval.items import count_items, get_items
from retrieval.judgements import JudgedQuery
from retrieval.lexical_batch import LexicalBatch
from retrieval.opening import OpenIndex
from retrieval.registry import ModelRow
from retrieval.searcher import Searcher
from retrieval.workspace import Workspace

_HARDEST = 12
_ENCODE_BATCH = 256


@dataclass(frozen=True, slots=True)
class System:
    """An index version and the encoder that made it, open for measuring."""

    opened: OpenIndex
    encoder: Encoder
    model: ModelRow


class Stopwatch:
    """Tells what begins, and keeps how long it took."""

    def __init__(self, on_step: Callable[[str], None] | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._on_step = on_step or (lambda step: None)

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Time a step."""
        self._on_step(step)
        started = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - started


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is measured, and on which queries."""

    ws: Workspace
    collection: str
    split: str
    queries: Sequence[JudgedQuery]
    system: System
    seed: int
    watch: Stopwatch

    def run(self, *, hybrid: bool, details: bool) -> Evaluation:
        """Do all steps; `details` adds what only the report shows."""
        with self.watch("encode"):
            vectors = encode_queries(self.system.encoder, self.queries)
        dense, exact, fused = self._search(vectors, hybrid)
        with self.watch("bm25"):
            lexical = LexicalBatch(self.ws, self.collection)
            bm25 = self._score(bm25_run(lexical, self.queries))
        judged = self._judged_items()
        with self.watch("re-rank"):
            reranking = rerank(self.queries, vectors, judged, lexical, seed=self.seed)
        with self.watch("ann recall"):
            recall = ann_recall(self.system.opened, vectors)
        corpus = count_items(self.ws, self.collection)
        evaluation = Evaluation(
            collection=self.collection,
            split=self.split,
            model=self.system.model.reference,
            fingerprint=self._fingerprint(),
            index_version=self.system.opened.version,
            seed=self.seed,
            data_digest=data_digest(self.ws, self.collection, self.queries),
            corpus=corpus,
            scores=fused or dense,
            bm25=bm25,
            dense=dense if fused else None,
            exact=exact,
            chance=self._chance(corpus),
            ann_recall=recall,
            missing_relevant=self._missing_relevant(judged),
            reranking=reranking,
            qrels=self._qrels(),
            timings_s=self.watch.seconds,
        )
        return self._with_details(evaluation, vectors, judged) if details else evaluation

    def _qrels(self) -> Qrels:
        return {query.id: query.grades for query in self.queries}

    def _fingerprint(self) -> str:
        return self.system.opened.manifest.fingerprint

    def _search(
        self, vectors: Vectors, hybrid: bool
    ) -> tuple[SystemScores, SystemScores, SystemScores | None]:
        """Search as it is served, by every vector, and together with BM25 if asked to."""
        searcher = Searcher(self.ws, self.collection, self.system.opened)
        with self.watch("search"):
            dense = self._score(search_run(searcher, self.queries, vectors))
        with self.watch("exact search"):
            exact = self._score(search_run(searcher, self.queries, vectors, exact=True))
        if not hybrid:
            return dense, exact, None
        with self.watch("hybrid search"):
            return dense, exact, self._score(search_run(searcher, self.queries, vectors, hybrid=True))

    def _score(self, run: RetrievalRun) -> SystemScores:
        return score_run(run, self._qrels(), seed=self.seed)

    def _judged_items(self) -> JudgedItems:
        ids = [id for query in self.queries for id in query.grades]
        window_s = self.system.opened.manifest.window_s
        return read_judged_items(self.ws, self.collection, self._fingerprint(), ids, window_s)

    def _missing_relevant(self, judged: JudgedItems) -> int:
        relevant = {id for query in self.queries for id, grade in query.grades.items() if grade > 0}
        return len(relevant - judged.rowids.keys())

    def _chance(self, corpus: int) -> dict[str, float]:
        # Judged items may be missing from the corpus, even most of them.
        return chance_levels(self._qrels(), max(corpus, *(len(query.grades) for query in self.queries)))

    def _with_details(self, evaluation: Evaluation, vectors: Vectors, judged: JudgedItems) -> Evaluation:
        opened = self.system.opened
        dense = evaluation.dense or evaluation.scores
        with self.watch("recall against speed"):
            efforts = measure_efforts(opened, vectors)
        with self.watch("score samples"):
            samples = sample_scores(opened, self.queries, vectors, dense.run, judged, seed=self.seed)
        hardest = hardest_queries(self.ws, self.collection, self.queries, evaluation.scores)
        curves = read_curves(self.system.model.folder)
        return replace(evaluation, efforts=efforts, samples=samples, hardest=hardest, curves=curves)


def encode_queries(encoder: Encoder, queries: Sequence[JudgedQuery]) -> Vectors:
    """Encode the queries' texts, shape (queries, dims)."""
    contents = [Content(text=query.text) for query in queries]
    batches = [
        encoder.encode_queries(contents[start : start + _ENCODE_BATCH])
        for start in range(0, len(contents), _ENCODE_BATCH)
    ]
    return np.concatenate(batches)


def hardest_queries(
    ws: Workspace, collection: str, queries: Sequence[JudgedQuery], scores: SystemScores
) -> list[HardQuery]:
    """Pick the queries with the lowest nDCG@10, with the texts that show why; equal ones by id."""
    values = dict(zip(scores.per_query.query_ids, scores.per_query.column("nDCG@10").tolist(), strict=True))
    worst = sorted(queries, key=lambda query: (values[query.id], query.id))[:_HARDEST]
    shown = {query.id: _shown(query, scores) for query in worst}
    texts = {
        item.id: item.text or item.uri
        for item in get_items(ws, collection, [id for pair in shown.values() for id in pair if id])
    }
    return [
        HardQuery(
            id=query.id,
            text=query.text,
            metric=values[query.id],
            first_relevant_rank=_first_relevant_rank(query, scores),
            found=texts.get(shown[query.id][0], ""),
            relevant=texts.get(shown[query.id][1], "(not in the collection)"),
        )
        for query in worst
    ]


def _shown(query: JudgedQuery, scores: SystemScores) -> tuple[str, str]:
    """Name the first item found, and the best relevant one."""
    ranking = scores.run.rankings.get(query.id, ())
    best = min(query.grades.items(), key=lambda pair: (-pair[1], pair[0]))[0]
    return (ranking[0].id if ranking else "", best)


def _first_relevant_rank(query: JudgedQuery, scores: SystemScores) -> int | None:
    for rank, item in enumerate(scores.run.rankings.get(query.id, ())[:DEPTH], start=1):
        if query.grades.get(item.id, 0) > 0:
            return rank
    return None


def data_digest(ws: Workspace, collection: str, queries: Sequence[JudgedQuery]) -> str:
    """Digest what is measured on: the contents of all items, and the queries with their judgements."""
    digest = hashlib.sha256()
    for id, content in ws.fetch(
        "SELECT id, digest FROM items WHERE collection = ? ORDER BY id", (collection,)
    ):
        digest.update(id.encode() + b"\0" + content)
    for query in sorted(queries, key=lambda query: query.id):
        digest.update(json.dumps([query.id, query.text, sorted(query.grades.items())]).encode())
    return digest.hexdigest()
