"""Search answers: to protobuf."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.rpc import status_pb2

from protos.twinspire.v1 import content_pb2
from protos.twinspire.v1 import search_pb2 as pb
from retrieval.search import Hit, ScoreKind, SearchResult
from server.translation.items import attributes_to
from server.translation.vectors import vector_to
from server.wire import delimited

_SCORE_KINDS = {
    ScoreKind.COSINE: pb.SCORE_KIND_COSINE,
    ScoreKind.FUSED: pb.SCORE_KIND_FUSED,
    ScoreKind.EXAMPLES: pb.SCORE_KIND_EXAMPLES,
}


@dataclass(frozen=True, slots=True)
class Origin:
    """What made an answer."""

    index_version: str
    encoder_fingerprint: str
    model_version: str


def answer_to(
    result: SearchResult,
    origin: Origin,
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
        origin: what made them.
        score_kind: the unit of the scores told.
        score_scale: what to multiply the result's scores by to get that unit.
        truncated: whether the encoder read only the beginning of the query.
        search_id: names the answer in votes.
        timing: where the time went.
    """
    message = pb.SearchResponse(
        score_kind=_SCORE_KINDS[score_kind],
        index_version=origin.index_version,
        encoder_fingerprint=origin.encoder_fingerprint,
        model_version=origin.model_version,
        search_id=search_id,
        timing=timing,
        truncated_query=truncated,
    )
    add = message.hits.add
    for hit in result.hits:
        fill = add(id=hit.id, score=hit.score * score_scale, rank=hit.rank, text=hit.text, uri=hit.uri)
        if hit.attributes or hit.span is not None or hit.vector is not None or hit.explanation:
            _fill_rest(fill, hit)
    return message.SerializeToString()


def _fill_rest(message: pb.Hit, hit: Hit) -> None:
    if hit.attributes:
        message.attributes.CopyFrom(attributes_to(hit.attributes))
    if hit.span is not None:
        message.span.CopyFrom(content_pb2.Span(start=hit.span[0], end=hit.span[1]))
    if hit.vector is not None:
        message.vector.CopyFrom(vector_to(hit.vector))
    if hit.explanation:
        message.explanation.CopyFrom(_explanation(hit.explanation))


def _explanation(told: Mapping[str, Any]) -> pb.Explanation:
    lexical_only = "bm25" in told and told.get("cosine") is None
    return pb.Explanation(
        source="fresh" if told.get("fresh") else "lexical" if lexical_only else "index",
        plan=told.get("plan", ""),
        dense_score=told.get("cosine"),
        lexical_score=told.get("bm25"),
    )


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
