"""Relevance metrics by ir-measures, one value per query and metric."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.runs import Qrels, RetrievalRun
from retrieval.errors import InvalidInput, MissingExtra

DEPTH = 100  # ranks that are read: the deepest cut-off below
RECALL_CUTS = (1, 5, 10, 50, 100)
METRICS = ("MRR@10", "nDCG@10", "MAP", *(f"Recall@{cut}" for cut in RECALL_CUTS))
_IR_NAMES = {"MRR@10": "RR@10", "nDCG@10": "nDCG@10", "MAP": f"AP@{DEPTH}"} | {
    f"Recall@{cut}": f"R@{cut}" for cut in RECALL_CUTS
}


@dataclass(frozen=True, slots=True)
class PerQuery:
    """The value of every metric for every query."""

    query_ids: tuple[str, ...]
    values: NDArray[np.float64]  # shape (queries, metrics), columns in the order of METRICS

    def column(self, metric: str) -> NDArray[np.float64]:
        """Return one metric's values, shape (queries,)."""
        return self.values[:, METRICS.index(metric)]

    def means(self) -> dict[str, float]:
        """Average every metric over the queries."""
        return dict(zip(METRICS, self.values.mean(axis=0).tolist(), strict=True))


def judged_with_relevant(qrels: Qrels) -> list[str]:
    """List the queries that have something to find; the others have no recall and are left out."""
    return [query for query, grades in qrels.items() if any(grade > 0 for grade in grades.values())]


def measure(run: RetrievalRun, qrels: Qrels) -> PerQuery:
    """Measure a run against judgements; a query that the run does not answer scores 0.

    Ranks count, not scores: the evaluator below sorts by score and breaks ties its own way, so it is
    given the ranks as scores.

    Raises:
        InvalidInput: if no query has a relevant item.
        MissingExtra: if ir-measures is not installed.
    """
    queries = judged_with_relevant(qrels)
    if not queries:
        raise InvalidInput("no judged query has a relevant item: nothing can be measured")
    rows = {query: row for row, query in enumerate(queries)}
    columns = {name: METRICS.index(metric) for metric, name in _IR_NAMES.items()}
    values = np.zeros((len(queries), len(METRICS)))
    ranks = {
        query: {item.id: float(-rank) for rank, item in enumerate(run.rankings.get(query, ())[:DEPTH])}
        for query in queries
    }
    for query, name, value in _calculate(list(columns), {query: qrels[query] for query in queries}, ranks):
        values[rows[query], columns[name]] = value
    return PerQuery(tuple(queries), values)


def _calculate(
    names: Sequence[str], qrels: Qrels, ranks: dict[str, dict[str, float]]
) -> list[tuple[str, str, float]]:
    try:
        import ir_measures  # with scipy, so only when something is measured
    except ImportError as error:
        raise MissingExtra("evaluation", "train") from error
    measures = [ir_measures.parse_measure(name) for name in names]
    judged = {query: dict(grades) for query, grades in qrels.items()}
    answered = {query: ranking for query, ranking in ranks.items() if ranking}
    return [
        (metric.query_id, str(metric.measure), metric.value)
        for metric in ir_measures.iter_calc(measures, judged, answered)
    ]
