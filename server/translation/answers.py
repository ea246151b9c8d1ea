"""Search answers: to protobuf, mostly by joining bytes that were made before.

What a hit shows of its item is serialised once and kept; a hit adds its score and rank behind it, for the
order of protobuf's fields is free. Made field by field, ten hits with attributes took three times as long.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.rpc import status_pb2

from protos.twinspire.v1 import content_pb2
from protos.twinspire.v1 import search_pb2 as pb
from retrieval.search import Hit, ScoreKind, SearchResult
from server.translation.items import attributes_to
from server.translation.vectors import vector_to
from server.wire import delimited, varint

MAX_KEPT_BYTES = 32 << 20

_SCORE_KINDS = {
    ScoreKind.COSINE: pb.SCORE_KIND_COSINE,
    ScoreKind.FUSED: pb.SCORE_KIND_FUSED,
    ScoreKind.EXAMPLES: pb.SCORE_KIND_EXAMPLES,
}
_VARINT, _FIXED64, _BYTES = 0, 1, 2
_HITS = pb.SearchResponse.HITS_FIELD_NUMBER
_HITS_TAG = varint(_HITS << 3 | _BYTES)
_SCORE = struct.Struct("<Bd").pack
_SCORE_TAG = pb.Hit.SCORE_FIELD_NUMBER << 3 | _FIXED64
# The ranks' fields, made before: tag and number.
_RANKS = [varint(pb.Hit.RANK_FIELD_NUMBER << 3 | _VARINT) + varint(rank) for rank in range(1001)]
_LENGTHS = [varint(length) for length in range(1 << 14)]


@dataclass(frozen=True, slots=True)
class Origin:
    """What made an answer."""

    index_version: str
    encoder_fingerprint: str
    model_version: str


class AnswerWriter:
    """Serialises the answers of one version. May be shared by threads."""

    def __init__(self, origin: Origin) -> None:
        """Take what all answers have in common."""
        self._origin = pb.SearchResponse(
            index_version=origin.index_version,
            encoder_fingerprint=origin.encoder_fingerprint,
            model_version=origin.model_version,
        ).SerializeToString()
        # By id: the text and attributes that were serialised, and their bytes. The objects are compared by
        # identity: the searcher hands out the same ones until the item may have changed.
        self._kept: dict[str, tuple[str, Mapping[str, Any], bytes]] = {}
        self._kept_bytes = 0

    def write(
        self,
        result: SearchResult,
        *,
        score_kind: ScoreKind,
        score_scale: float,
        truncated: bool,
        search_id: str,
        timing: pb.Timing,
    ) -> bytes:
        """Serialise the answer to one query.

        Args:
            result: the hits.
            score_kind: the unit of the scores told.
            score_scale: what to multiply the result's scores by to get that unit.
            truncated: whether the encoder read only the beginning of the query.
            search_id: names the answer in votes.
            timing: where the time went.
        """
        rest = pb.SearchResponse(
            score_kind=_SCORE_KINDS[score_kind],
            search_id=search_id,
            timing=timing,
            truncated_query=truncated,
            partial=result.partial,
        )
        parts = [self._origin, rest.SerializeToString()]
        for hit in result.hits:
            item = self._item(hit)
            body = item + _SCORE(_SCORE_TAG, hit.score * score_scale) + _RANKS[hit.rank]
            if hit.span is not None or hit.vector is not None or hit.explanation:
                body += _extras(hit)
            length = len(body)
            parts += (_HITS_TAG, _LENGTHS[length] if length < len(_LENGTHS) else varint(length), body)
        return b"".join(parts)

    def _item(self, hit: Hit) -> bytes:
        kept = self._kept.get(hit.id)
        if kept is not None and kept[0] is hit.text and kept[1] is hit.attributes:
            return kept[2]
        message = pb.Hit(id=hit.id, text=hit.text, uri=hit.uri)
        if hit.attributes:
            message.attributes.CopyFrom(attributes_to(hit.attributes))
        item = message.SerializeToString()
        if self._kept_bytes > MAX_KEPT_BYTES:
            self._kept, self._kept_bytes = {}, 0
        self._kept[hit.id] = (hit.text, hit.attributes, item)
        self._kept_bytes += 2 * len(item)  # the text is kept as well
        return item


def _extras(hit: Hit) -> bytes:
    message = pb.Hit()
    if hit.span is not None:
        message.span.CopyFrom(content_pb2.Span(start=hit.span[0], end=hit.span[1]))
    if hit.vector is not None:
        message.vector.CopyFrom(vector_to(hit.vector))
    if hit.explanation:
        message.explanation.CopyFrom(_explanation(hit.explanation))
    return message.SerializeToString()


def _explanation(explanation: Mapping[str, Any]) -> pb.Explanation:
    plan, cosine = explanation["plan"], explanation["cosine"]
    source = "fresh" if explanation["fresh"] else "index"
    if cosine is None:  # BM25 alone found it
        source = "lexical"
    return pb.Explanation(source=source, plan=plan, dense_score=cosine, lexical_score=explanation.get("bm25"))


_RESULTS = pb.BatchSearchResponse.RESULTS_FIELD_NUMBER
_RESPONSE = pb.BatchSearchResponse.Result.RESPONSE_FIELD_NUMBER
_ERROR = pb.BatchSearchResponse.Result.ERROR_FIELD_NUMBER


def batch_to(outcomes: list[bytes | status_pb2.Status]) -> bytes:
    """Serialise a BatchSearchResponse around answers that are serialised already."""
    return b"".join(
        delimited(
            _RESULTS,
            delimited(_RESPONSE, outcome)
            if isinstance(outcome, bytes)
            else delimited(_ERROR, outcome.SerializeToString()),
        )
        for outcome in outcomes
    )
