"""What a search asks: one description for single and batched searches, sync and async."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InvalidInput
from retrieval.filters import Filter
from retrieval.search import Diversity, Fusion

Vector: TypeAlias = Sequence[float] | NDArray[np.float32] | NDArray[np.float64]
MediaFile: TypeAlias = bytes | Path | str
"""A picture, sound or video: its bytes, a file here, or the uri `media://ROOT/PATH` of one at the server."""

QUERY_KINDS = ("text", "image", "audio", "video", "vector", "item_id", "positives")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Something to be near to, or far from: exactly one of an item's id, a text, a vector and a file."""

    item_id: str | None = None
    text: str | None = None
    vector: Vector | None = None
    media: MediaFile | None = None  # the server tells by the bytes whether it shows, sounds or moves
    weight: float = 1.0

    def __post_init__(self) -> None:
        given = sum(kind is not None for kind in (self.item_id, self.text, self.vector, self.media))
        if given != 1:
            raise InvalidInput(
                f"an example is one of item_id, text, vector and media; got {given} of them", field="examples"
            )


class SearchOptions(TypedDict, total=False):
    """The keyword arguments of `Client.search`: the fields of `SearchQuery`, which explains them."""

    image: MediaFile | None
    audio: MediaFile | None
    video: MediaFile | None
    vector: Vector | None
    item_id: str | None
    positives: Sequence[str | Example]
    negatives: Sequence[str | Example]
    hybrid: bool | Fusion
    limit: int
    filter: Filter | str | None
    score_threshold: float | None
    attributes: Sequence[str] | None
    with_vector: bool
    effort: int
    exact: bool
    oversampling: float
    allow_partial: bool | None
    diversity: Diversity | None
    moments: int
    aspects: Mapping[str, float] | None
    expected_fingerprint: str
    index_version: str
    explain: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchQuery:
    """One search: exactly one of QUERY_KINDS says what is looked for."""

    text: str | None = None
    image: MediaFile | None = None
    audio: MediaFile | None = None
    video: MediaFile | None = None
    vector: Vector | None = None
    item_id: str | None = None  # more like this item
    positives: Sequence[str | Example] = ()  # near these; a plain string is an item's id
    negatives: Sequence[str | Example] = ()  # and far from these
    hybrid: bool | Fusion = False  # text over vectors and BM25; True = the weight learned at build
    limit: int = 10  # 1 to 1000
    filter: Filter | str | None = None  # a tree, or an expression such as "year >= 1990"
    score_threshold: float | None = None  # leave out hits below, in the unit of Hit.score
    attributes: Sequence[str] | None = None  # the attributes to return; None = all
    with_vector: bool = False
    effort: int = 0  # how hard to look; 0 = what reached the recall target at build
    exact: bool = False  # compare with every vector
    oversampling: float = 0.0  # candidates per hit asked for; 0 = 1
    # Rather than fail, leave out nodes of the index that do not answer; None = as the server was told.
    allow_partial: bool | None = None
    diversity: Diversity | None = None  # spread the hits
    moments: int = 1  # of one item, so many parts may be hits
    # Compare sounds by these alone, such as {"brightness": 1, "tempo": 0.5}, by media or item_id.
    aspects: Mapping[str, float] | None = None
    expected_fingerprint: str = ""  # refuse unless this encoder made the index
    index_version: str = ""  # empty = live
    explain: bool = False

    def __post_init__(self) -> None:
        values = {kind: getattr(self, kind) for kind in QUERY_KINDS}
        given = [
            kind
            for kind, value in values.items()
            if value is not None and (kind != "positives" or len(value))
        ]
        if len(given) != 1:
            raise InvalidInput(
                f"a search asks by exactly one of {', '.join(QUERY_KINDS)}; "
                f"got {' and '.join(given) or 'none'}",
                field="query",
            )
        if self.hybrid is not False and self.text is None:
            raise InvalidInput("a hybrid search needs text: BM25 has nothing else to go by", field="hybrid")
        if self.negatives and not self.positives:
            raise InvalidInput("negatives need positives beside them", field="negatives")


def as_query(query: str | SearchQuery | None, options: SearchOptions) -> SearchQuery:
    """Describe what `Client.search` was called with.

    Raises:
        InvalidInput: if it does not ask by exactly one thing.
    """
    if isinstance(query, SearchQuery):
        if options:
            raise InvalidInput(f"a SearchQuery holds its own options; got {', '.join(options)} beside it")
        return query
    return SearchQuery(text=query, **options)
