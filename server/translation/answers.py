"""Search answers: to protobuf, by joining bytes that were made before.

What a hit shows of its item is serialised once and kept with the row; a hit adds its score and rank behind
it, for the order of protobuf's fields is free. Made field by field, ten hits took ten times as long.
"""

import itertools
import secrets
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.rpc import status_pb2
from numpy.typing import NDArray

from protos.twinspire.v1 import content_pb2
from protos.twinspire.v1 import search_pb2 as pb
from retrieval.search import MAX_LIMIT, Hit, Row, ScoreKind, SearchResult
from server.translation.items import attributes_to
from server.translation.vectors import vector_to
from server.wire import delimited, tag, varint

_SCORE_KINDS = {
    ScoreKind.COSINE: pb.SCORE_KIND_COSINE,
    ScoreKind.FUSED: pb.SCORE_KIND_FUSED,
    ScoreKind.EXAMPLES: pb.SCORE_KIND_EXAMPLES,
    ScoreKind.ASPECTS: pb.SCORE_KIND_ASPECTS,
}
_VARINT, _FIXED64 = 0, 1
_HITS = pb.SearchResponse.HITS_FIELD_NUMBER
_SEARCH_ID = pb.SearchResponse.SEARCH_ID_FIELD_NUMBER
_TIMING = pb.SearchResponse.TIMING_FIELD_NUMBER

# What differs between two hits of one row: score and rank. A rank takes two bytes always, which parsers
# allow, so that the length of a hit, which stands before it, is known with the row.
_TAIL = struct.Struct("<BdBH")
_SCORE_TAG = pb.Hit.SCORE_FIELD_NUMBER << 3 | _FIXED64
_RANK_TAG = pb.Hit.RANK_FIELD_NUMBER << 3 | _VARINT
_RANKS = [rank & 0x7F | 0x80 | rank >> 7 << 8 for rank in range(1, MAX_LIMIT + 1)]

# The same for many hits at once.
_TAILS = np.dtype([("score_tag", "u1"), ("score", "<f8"), ("rank_tag", "u1"), ("rank", "<u2")])
_TAIL_BYTES = f"V{_TAIL.size}"
_TIMING_TAG = tag(_TIMING)

# Names answers: unique among servers by chance, within one by counting.
_SERVER_ID = secrets.token_hex(6).encode()
_NUMBERS = itertools.count(1)

_TIMES = struct.Struct("<BdBdBdBdBdB")
_TIME_TAGS = [
    getattr(pb.Timing, f"{name}_MS_FIELD_NUMBER") << 3 | _FIXED64
    for name in ("ENCODE", "SEARCH", "FETCH", "QUEUE", "TOTAL")
]
_BATCH_SIZE_TAG = pb.Timing.BATCH_SIZE_FIELD_NUMBER << 3 | _VARINT


@dataclass(frozen=True, slots=True)
class Origin:
    """What made an answer."""

    index_version: str
    encoder_fingerprint: str
    model_version: str


def new_search_id() -> bytes:
    """Name an answer."""
    return b"%b-%d" % (_SERVER_ID, next(_NUMBERS))


def timing_to(
    *, encode_ms: float, search_ms: float, fetch_ms: float, queue_ms: float, total_ms: float, batch_size: int
) -> bytes:
    """Serialise a Timing."""
    encode, search, fetch, queue, total = _TIME_TAGS
    times = _TIMES.pack(
        encode,
        encode_ms,
        search,
        search_ms,
        fetch,
        fetch_ms,
        queue,
        queue_ms,
        total,
        total_ms,
        _BATCH_SIZE_TAG,
    )
    return times + varint(batch_size)


class AnswerWriter:
    """Serialises the answers of one version. May be shared by threads."""

    def __init__(self, origin: Origin) -> None:
        """Serialise what all answers have in common."""
        self._origins = {
            (kind, truncated, partial): pb.SearchResponse(
                index_version=origin.index_version,
                encoder_fingerprint=origin.encoder_fingerprint,
                model_version=origin.model_version,
                score_kind=number,
                truncated_query=truncated,
                partial=partial,
            ).SerializeToString()
            for kind, number in _SCORE_KINDS.items()
            for truncated in (False, True)
            for partial in (False, True)
        }

    def write(
        self,
        result: SearchResult,
        *,
        score_kind: ScoreKind,
        score_scale: float,
        truncated: bool,
        timing: bytes,
    ) -> bytes:
        """Serialise the answer to one query.

        Args:
            result: the hits.
            score_kind: the unit of the scores told.
            score_scale: what to multiply the result's scores by to get that unit.
            truncated: whether the encoder read only the beginning of the query.
            timing: where the time went, serialised.
        """
        parts = [
            self._origins[score_kind, truncated, result.partial],
            delimited(_SEARCH_ID, new_search_id()),
            delimited(_TIMING, timing),
        ]
        if result.details is None:
            tail, score_tag, rank_tag = _TAIL.pack, _SCORE_TAG, _RANK_TAG
            for row, score, rank in zip(result.rows, result.scores, _RANKS):  # noqa: B905  as many ranks as needed
                parts += (row.encoded or _encoded(row), tail(score_tag, score * score_scale, rank_tag, rank))
        else:
            parts += _detailed(result.details, score_scale)
        return b"".join(parts)

    def write_alike(
        self, rows: Sequence[Row], scores: NDArray[np.float64], asked: Sequence[tuple[bool, bytes]]
    ) -> list[bytes]:
        """Serialise the answers to m queries that have the same number of hits.

        Args:
            rows: those of one query behind those of another, m * limit.
            scores: cosines, shape (m, limit).
            asked: for each query, whether its encoder read only its beginning, and where its time went,
                serialised.
        """
        limit = scores.shape[1]
        tails = np.empty(scores.shape, _TAILS)
        tails["score_tag"], tails["score"] = _SCORE_TAG, scores
        tails["rank_tag"], tails["rank"] = _RANK_TAG, _RANKS[:limit]
        hits = [b""] * (2 * len(rows))
        hits[0::2] = [row.encoded or _encoded(row) for row in rows]
        hits[1::2] = tails.view(_TAIL_BYTES).ravel().tolist()
        return [
            b"".join(
                (
                    self._origins[ScoreKind.COSINE, truncated, False],
                    delimited(_SEARCH_ID, new_search_id()),
                    _TIMING_TAG,
                    varint(len(timing)),
                    timing,
                    *hits[first : first + 2 * limit],
                )
            )
            for first, (truncated, timing) in zip(range(0, len(hits), 2 * limit), asked, strict=True)
        ]


def _encoded(row: Row) -> bytes:
    """Serialise the beginning of a hit that shows a row, and keep it with the row."""
    item = _item(row.id, row.text, row.uri, row.attributes, row.span)
    row.encoded = delimited(_HITS, item + bytes(_TAIL.size))[: -_TAIL.size]
    return row.encoded


def _item(
    id: str, text: str, uri: str, attributes: Mapping[str, Any], span: tuple[float, float] | None
) -> bytes:
    message = pb.Hit(id=id, text=text, uri=uri)
    if attributes:
        message.attributes.CopyFrom(attributes_to(attributes))
    if span is not None:
        message.span.CopyFrom(content_pb2.Span(start=span[0], end=span[1]))
    return message.SerializeToString()


def _detailed(hits: Sequence[Hit], score_scale: float) -> Iterator[bytes]:
    """Serialise hits that show more than their rows."""
    for hit in hits:
        item = _item(hit.id, hit.text, hit.uri, hit.attributes, hit.span)
        more = pb.Hit(score=hit.score * score_scale, rank=hit.rank)
        if hit.vector is not None:
            more.vector.CopyFrom(vector_to(hit.vector))
        if hit.explanation:
            more.explanation.CopyFrom(_explanation(hit.explanation))
        yield delimited(_HITS, item + more.SerializeToString())


def _explanation(explanation: Mapping[str, Any]) -> pb.Explanation:
    plan, cosine = explanation["plan"], explanation["cosine"]
    source = "fresh" if explanation["fresh"] else "index"
    if cosine is None and "bm25" in explanation:  # BM25 alone found it
        source = "lexical"
    return pb.Explanation(source=source, plan=plan, dense_score=cosine, lexical_score=explanation.get("bm25"))


_RESULT_TAG = tag(pb.BatchSearchResponse.RESULTS_FIELD_NUMBER)
_RESPONSE_TAG = tag(pb.BatchSearchResponse.Result.RESPONSE_FIELD_NUMBER)
_ERROR_TAG = tag(pb.BatchSearchResponse.Result.ERROR_FIELD_NUMBER)


def batch_to(outcomes: list[bytes | status_pb2.Status]) -> bytes:
    """Serialise a BatchSearchResponse around answers that are serialised already."""
    parts: list[bytes] = []
    for outcome in outcomes:
        if isinstance(outcome, bytes):
            kind, body = _RESPONSE_TAG, outcome
        else:
            kind, body = _ERROR_TAG, outcome.SerializeToString()
        inner = kind + varint(len(body))
        parts += (_RESULT_TAG, varint(len(inner) + len(body)), inner, body)  # the long ones are copied once
    return b"".join(parts)


def responses_in(batch: bytes) -> list[bytes]:
    """Take the answers out of a BatchSearchResponse that `batch_to` made of answers alone."""
    view = pb.BatchSearchResponse.FromString(batch)
    return [result.response.SerializeToString() for result in view.results]
