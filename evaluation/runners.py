"""Runs of the systems that are measured: what search answers, and what BM25 answers."""

from collections.abc import Sequence

from evaluation.metrics import DEPTH
from evaluation.runs import RetrievalRun, ScoredItem
from retrieval.errors import TwinspireError
from retrieval.index import Vectors
from retrieval.judgements import JudgedQuery
from retrieval.lexical_batch import LexicalBatch
from retrieval.search import SearchParams, VectorQuery
from retrieval.searcher import Searcher

BM25, DENSE, EXACT, HYBRID = "bm25", "dense", "exact", "hybrid"
_BATCH = 256


def bm25_run(lexical: LexicalBatch, queries: Sequence[JudgedQuery]) -> RetrievalRun:
    """Rank the corpus for each query by BM25."""
    answers = lexical.search([query.text for query in queries], DEPTH)
    return RetrievalRun(
        BM25,
        {
            query.id: [ScoredItem(id, score) for _, id, score in hits]
            for query, hits in zip(queries, answers, strict=True)
        },
    )


def search_run(
    searcher: Searcher,
    queries: Sequence[JudgedQuery],
    vectors: Vectors,
    *,
    hybrid: bool = False,
    exact: bool = False,
) -> RetrievalRun:
    """Search as the server does, by the index as it is served.

    Args:
        searcher: over the index version to measure.
        queries: to answer.
        vectors: their encodings, shape (queries, dims).
        hybrid: fuse with BM25, by the weight learned for the collection.
        exact: compare with every vector, to see what the index's approximation costs.

    Raises:
        TwinspireError: whatever the first query that fails fails with.
    """
    asked = [
        VectorQuery(
            vector=vector,
            limit=DEPTH,
            lexical_text=query.text if hybrid else "",
            attribute_mask=(),
            params=SearchParams(exact=exact),
        )
        for query, vector in zip(queries, vectors, strict=True)
    ]
    rankings = {}
    for start in range(0, len(asked), _BATCH):
        results = searcher.search(asked[start : start + _BATCH])
        for query, result in zip(queries[start : start + _BATCH], results, strict=True):
            if isinstance(result, TwinspireError):
                raise result
            rankings[query.id] = [ScoredItem(hit.id, hit.score) for hit in result.hits]
    return RetrievalRun(HYBRID if hybrid else EXACT if exact else DENSE, rankings)
