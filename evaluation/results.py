"""What an evaluation found: figures, their intervals, and what they stand beside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import PairedDifference, bootstrap_interval, paired_difference
from evaluation.metrics import METRICS, PerQuery, measure
from evaluation.runs import Qrels, RetrievalRun
from retrieval.errors import InvalidInput

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemScores:
    """The figures of one system over the judged queries."""

    name: str
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]  # 95 %, percentile bootstrap over queries
    per_query: PerQuery
    run: RetrievalRun


def score_run(run: RetrievalRun, qrels: Qrels, *, seed: int = 0) -> SystemScores:
    """Measure a run and how sure each mean is.

    Raises:
        InvalidInput: if no query has a relevant item.
        MissingExtra: if ir-measures is not installed.
    """
    per_query = measure(run, qrels)
    low, high = bootstrap_interval(per_query.values, seed=seed).tolist()
    return SystemScores(
        name=run.name,
        metrics=per_query.means(),
        intervals=dict(zip(METRICS, zip(low, high, strict=True), strict=True)),
        per_query=per_query,
        run=run,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reranking:
    """Ranking a query's own candidates: an easier task, so its figures are kept apart."""

    queries: int
    candidates: float  # per query, on average
    chance: float  # MRR@10 of a random order
    mrr: Mapping[str, float]  # system -> MRR@10
    intervals: Mapping[str, Interval]

    def to_json(self) -> dict[str, Any]:
        """Give the figures with their chance level."""
        return {
            "n": self.queries,
            "candidates": self.candidates,
            "chance": {"MRR@10": self.chance},
            "metrics": {name: {"MRR@10": value} for name, value in self.mrr.items()},
            "intervals": {name: {"MRR@10": list(value)} for name, value in self.intervals.items()},
        }


@dataclass(frozen=True, slots=True)
class EffortPoint:
    """What an index does at one effort."""

    effort: int
    recall: float  # @10, against exact search
    queries_per_second: float
    served: bool = False  # this is the effort that searches use unless told otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSamples:
    """Cosines of queries with three kinds of items."""

    relevant: NDArray[np.float32]
    retrieved: NDArray[np.float32]  # not judged relevant, but among the first ten
    random: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TrainingCurve:
    """One quantity over one stage of a training."""

    name: str  # of the stage
    points: Sequence[tuple[float, float]]  # (epoch, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class HardQuery:
    """A query that went badly."""

    id: str
    text: str
    metric: float  # nDCG@10
    first_relevant_rank: int | None  # None: not among the ranks read
    found: str  # text of the first hit
    relevant: str  # text of a relevant item


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table that an evaluation prints."""

    metric: str
    value: float
    interval: Interval
    chance: float
    bm25: float
    difference: PairedDifference  # to BM25


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One model on one collection's judged queries, over the full corpus."""

    collection: str
    split: str
    model: str  # name@version
    fingerprint: str
    index_version: str
    seed: int
    data_digest: str
    corpus: int
    scores: SystemScores  # what was asked for: dense, or hybrid
    bm25: SystemScores
    exact: SystemScores  # dense search by every vector: what the index's approximation costs
    dense: SystemScores | None = None  # beside a hybrid
    chance: Mapping[str, float]
    ann_recall: float  # @10
    missing_relevant: int = 0  # items judged relevant that are not in the collection: nobody can find them
    reranking: Reranking | None = None
    efforts: Sequence[EffortPoint] = ()
    samples: ScoreSamples | None = None
    hardest: Sequence[HardQuery] = ()
    curves: Mapping[str, Sequence[TrainingCurve]] = field(default_factory=dict)  # quantity -> a line a stage
    qrels: Qrels = field(default_factory=dict)
    timings_s: Mapping[str, float] = field(default_factory=dict)
    run_id: int | None = None

    @property
    def n(self) -> int:
        """The number of queries measured."""
        return len(self.scores.per_query.query_ids)

    def systems(self) -> list[SystemScores]:
        """List every system measured, the one asked for first."""
        return [self.scores, *([self.dense] if self.dense else []), self.bm25]

    def rows(self) -> list[Row]:
        """List what the table prints, one row a metric."""
        return [
            Row(
                metric=metric,
                value=self.scores.metrics[metric],
                interval=self.scores.intervals[metric],
                chance=self.chance[metric],
                bm25=self.bm25.metrics[metric],
                difference=paired_difference(
                    self.scores.per_query.column(metric), self.bm25.per_query.column(metric), seed=self.seed
                ),
            )
            for metric in METRICS
        ]

    def to_json(self) -> dict[str, Any]:
        """Give what `eval --json` prints."""
        body: dict[str, Any] = {
            "n": self.n,
            "corpus": self.corpus,
            "metrics": dict(self.scores.metrics),
            "intervals": _lists(self.scores.intervals),
            "chance": dict(self.chance),
            "bm25": dict(self.bm25.metrics),
            "ann_recall@10": self.ann_recall,
            "exact": dict(self.exact.metrics),
            "bm25_intervals": _lists(self.bm25.intervals),
            "difference_to_bm25": {row.metric: difference_json(row.difference) for row in self.rows()},
            "system": self.scores.name,
            "collection": self.collection,
            "split": self.split,
            "model": self.model,
            "encoder_fingerprint": self.fingerprint,
            "index_version": self.index_version,
            "seed": self.seed,
            "data_digest": self.data_digest,
            "missing_relevant": self.missing_relevant,
            "timings_s": dict(self.timings_s),
        }
        if self.dense:
            body |= {"dense": dict(self.dense.metrics), "dense_intervals": _lists(self.dense.intervals)}
        if self.reranking:
            body["reranking"] = self.reranking.to_json()
        if self.run_id is not None:
            body["run"] = self.run_id
        return body


def _lists(intervals: Mapping[str, Interval]) -> dict[str, list[float]]:
    return {metric: list(bounds) for metric, bounds in intervals.items()}


def difference_json(difference: PairedDifference) -> dict[str, Any]:
    """Give a paired difference with its interval."""
    return {
        "difference": difference.difference,
        "interval": [difference.low, difference.high],
        "p_value": difference.p_value,
        "wins": difference.wins,
        "losses": difference.losses,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two systems on the same queries."""

    a: str
    b: str
    n: int
    a_metrics: Mapping[str, float]
    b_metrics: Mapping[str, float]
    differences: Mapping[str, PairedDifference]  # A - B

    def to_json(self) -> dict[str, Any]:
        """Give what `eval --compare A B --json` prints."""
        return {
            "a": self.a,
            "b": self.b,
            "n": self.n,
            "metrics": {"a": dict(self.a_metrics), "b": dict(self.b_metrics)},
            "differences": {name: difference_json(value) for name, value in self.differences.items()},
        }


def compare(a: Evaluation, b: Evaluation) -> Comparison:
    """Test whether A is better than B, query by query.

    Raises:
        InvalidInput: if they were measured on other queries, judgements or items.
    """
    if a.data_digest != b.data_digest:
        raise InvalidInput(
            f"{a.model} and {b.model} were measured on other queries or corpora: evaluate both on the same"
        )
    return compare_scores(_label(a, b), a.scores, _label(b, a), b.scores, seed=a.seed)


def compare_scores(
    a_name: str, a: SystemScores, b_name: str, b: SystemScores, *, seed: int = 0
) -> Comparison:
    """Test whether A is better than B, query by query, whatever the systems are.

    Raises:
        InvalidInput: if they were measured on other queries.
    """
    if a.per_query.query_ids != b.per_query.query_ids:
        raise InvalidInput(f"{a_name} and {b_name} were measured on other queries: use the same")
    return Comparison(
        a=a_name,
        b=b_name,
        n=len(a.per_query.query_ids),
        a_metrics=a.metrics,
        b_metrics=b.metrics,
        differences={
            metric: paired_difference(a.per_query.column(metric), b.per_query.column(metric), seed=seed)
            for metric in METRICS
        },
    )


def _label(evaluation: Evaluation, other: Evaluation) -> str:
    parts = [evaluation.model]
    if evaluation.index_version != other.index_version:
        parts.append(evaluation.index_version)
    if evaluation.scores.name != other.scores.name:
        parts.append(evaluation.scores.name)
    return " ".join(parts)
