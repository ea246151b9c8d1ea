"""What a system answered to a set of judged queries, ready to be measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Qrels = Mapping[str, Mapping[str, int]]  # query id -> item id -> grade; 0 = judged, not relevant


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """An item with its score: higher is better."""

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class RetrievalRun:
    """The rankings of one system: query id -> items, best first.

    The order of the sequence is the ranking, whatever the scores say: metrics never sort again.
    """

    name: str
    rankings: Mapping[str, Sequence[ScoredItem]]

    def depth(self) -> int:
        """Tell the length of the longest ranking."""
        return max((len(ranking) for ranking in self.rankings.values()), default=0)


def ranked(scores: Mapping[str, float]) -> list[ScoredItem]:
    """Order scored items as a search does: by score, ties by id.

    >>> [item.id for item in ranked({"b": 1.0, "a": 1.0, "c": 2.0})]
    ['c', 'a', 'b']
    """
    ordered = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
    return [ScoredItem(id, score) for id, score in ordered]
