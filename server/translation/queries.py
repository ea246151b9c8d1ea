"""Search requests: from protobuf to what the pipeline answers."""

import math
import mimetypes
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.aspects import check_weight
from encoders.media.sniffing import HEAD_BYTES, sniff
from protos.twinspire.v1 import content_pb2
from protos.twinspire.v1 import search_pb2 as pb
from retrieval.content import Content, Modality
from retrieval.errors import EmptyQuery, InvalidInput, InvalidLimit, MediaUnreadable, Unimplemented
from retrieval.item_checks import MAX_URI_BYTES, check_id, check_text
from retrieval.items import MAX_TEXT_BYTES
from retrieval.search import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    Diversity,
    Fusion,
    LinearFusion,
    RrfFusion,
    ScoreKind,
    SearchParams,
    VectorQuery,
)
from server.translation.filters import filter_from
from server.translation.vectors import vector_from

MAX_EXAMPLES = 256
MAX_EFFORT = 4096
MAX_ASPECTS = 64
MAX_OVERSAMPLING = 100.0
MAX_MOMENTS = 100
_MEDIA = {"image": Modality.IMAGE, "audio": Modality.AUDIO, "video": Modality.VIDEO}


# Not frozen, though nobody changes them: frozen values take several times as long to make.
@dataclass(slots=True, eq=False)
class Part:
    """One summand of a query's vector: a content to encode, a vector, or an item's vector."""

    field: str  # where it stands in the request
    content: Content | None = None
    vector: NDArray[np.float32] | None = None  # unit, shape (dims,)
    item_id: str = ""
    weight: float = 1.0  # negative for an example to stay away from


@dataclass(slots=True, eq=False)
class Plan:
    """A valid search request: the parts of its vector, and how to make the query once they are known."""

    collection: str
    parts: tuple[Part, ...]
    query: Callable[..., VectorQuery]  # takes vector=
    alike: tuple[int, SearchParams] | None  # limit and params, if nothing but items and scores is asked for
    score_kind: ScoreKind = ScoreKind.COSINE
    aspects: Mapping[str, float] = field(default_factory=dict)  # weights by name; empty: by vectors
    index_version: str = ""  # empty: live
    expected_fingerprint: str = ""


def plan_from(request: pb.SearchRequest) -> Plan:
    """Check a search request and translate it.

    Raises:
        InvalidInput: if it can never be answered; the error names the field.
        Unimplemented: if it asks for what this version does not do.
    """
    if request.calibrate:
        raise Unimplemented("calibrate: this version has no calibrated detectors")
    kind = request.query.WhichOneof("kind")
    lexical_text, fusion, parts = "", _LEARNED, _parts(request.query, kind)
    score_kind = ScoreKind.COSINE
    if kind == "hybrid":
        lexical_text, fusion = request.query.hybrid.text, _fusion(request.query.hybrid)
        score_kind = ScoreKind.FUSED
    elif kind == "examples":
        score_kind = ScoreKind.EXAMPLES
    aspects = _aspects(request, kind)
    if aspects:
        score_kind = ScoreKind.ASPECTS
    limit = request.limit if request.HasField("limit") else DEFAULT_LIMIT
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidLimit(limit, MAX_LIMIT)
    params = _params(request.params) if request.HasField("params") else _DEFAULT_PARAMS
    query = partial(
        VectorQuery,
        limit=limit,
        filter=filter_from(request.filter) if request.HasField("filter") else None,
        score_threshold=_threshold(request),
        lexical_text=lexical_text,
        fusion=fusion,
        exclude_ids=frozenset(part.item_id for part in parts if part.item_id),
        params=params,
        diversity=_diversity(request.diversity) if request.HasField("diversity") else None,
        moments=_moments(request),
        with_vector=request.with_vector,
        attribute_mask=tuple(request.attribute_mask.paths) if request.HasField("attribute_mask") else None,
        explain=request.explain,
    )
    return Plan(
        request.collection,
        parts,
        query,
        (limit, params) if kind in _PLAIN_KINDS and _is_plain(query.keywords) else None,
        score_kind,
        aspects,
        request.index_version,
        request.expected_encoder_fingerprint,
    )


def _aspects(request: pb.SearchRequest, kind: str | None) -> dict[str, float]:
    if not request.aspects:
        return {}
    if kind not in _ASPECT_KINDS:
        raise InvalidInput("aspects: expected to be asked by media or an item id", field="aspects")
    if len(request.aspects) > MAX_ASPECTS:
        raise InvalidInput(
            f"aspects: expected at most {MAX_ASPECTS}, got {len(request.aspects)}", field="aspects"
        )
    for aspect, weight in request.aspects.items():
        check_weight(aspect, weight)
    return dict(request.aspects)


def _is_plain(asked: Mapping[str, Any]) -> bool:
    """Tell whether a query asks for nothing but items and scores."""
    params: SearchParams = asked["params"]
    return not (
        asked["filter"] is not None
        or asked["moments"] > 1
        or asked["score_threshold"] is not None
        or asked["diversity"] is not None
        or asked["with_vector"]
        or asked["attribute_mask"] is not None
        or asked["explain"]
        or (params is not _DEFAULT_PARAMS and (params.allow_partial or params.oversampling > 1))
    )


_PLAIN_KINDS = ("text", "vector")
_ASPECT_KINDS = ("image", "audio", "video", "item_id")
_LEARNED: Fusion = LinearFusion()
_DEFAULT_PARAMS = SearchParams()


def _parts(query: pb.Query, kind: str | None) -> tuple[Part, ...]:
    if kind == "text":
        return (Part("query.text", content=text_content(query.text, "query.text")),)
    if kind == "vector":
        return (Part("query.vector", vector=vector_from(query.vector, "query.vector")),)
    if kind == "hybrid":
        return (Part("query.hybrid.text", content=text_content(query.hybrid.text, "query.hybrid.text")),)
    if kind == "item_id":
        check_id(query.item_id)
        return (Part("query.item_id", item_id=query.item_id),)
    if kind == "examples":
        return _examples(query.examples)
    if kind is None:
        raise EmptyQuery(
            "query: expected a text, a vector, an item id, examples or media; got none", field="query"
        )
    return (
        Part(f"query.{kind}", content=media_content(getattr(query, kind), _MEDIA[kind], f"query.{kind}")),
    )


def text_content(text: str, field: str) -> Content:
    """Check a text that is to be encoded.

    Raises:
        EmptyQuery: if it is empty or blank.
        InvalidInput: if it is too long.
    """
    if not text or text.isspace():
        raise EmptyQuery(f"{field}: expected some text, got only blanks", field=field)
    if len(text) > MAX_TEXT_BYTES:
        raise InvalidInput(
            f"{field}: expected at most {MAX_TEXT_BYTES} characters, got {len(text)}", field=field
        )
    return Content(text=text)


def media_content(media: content_pb2.Media, modality: Modality, field: str) -> Content:
    """Check a media file that is to be encoded: its bytes, or a uri, which is resolved when it is decoded.

    Raises:
        EmptyQuery: if it is empty.
        InvalidInput: if the uri is too long.
    """
    if media.uri:
        check_text(media.uri, MAX_URI_BYTES, f"{field}.uri")
        return Content(modality, uri=media.uri, mime_type=media.mime_type)
    if not media.content:
        raise EmptyQuery(f"{field}.content: expected the bytes of a file, got none", field=field)
    return Content(modality, media=media.content, mime_type=media.mime_type)


def _examples(examples: pb.ExampleQuery) -> tuple[Part, ...]:
    field = "query.examples"
    for name, group, least in (("positives", examples.positives, 1), ("negatives", examples.negatives, 0)):
        if not least <= len(group) <= MAX_EXAMPLES:
            raise InvalidInput(
                f"{field}.{name}: expected {least} to {MAX_EXAMPLES}, got {len(group)}",
                field=f"{field}.{name}",
            )
    return (
        *_weighted(examples.positives, f"{field}.positives", 1.0),
        *_weighted(examples.negatives, f"{field}.negatives", -1.0),
    )


def _weighted(examples: Iterable[pb.Example], field: str, sign: float) -> list[Part]:
    """Give each example its share of the group's mean."""
    group = list(examples)
    weights = [_weight(example, f"{field}[{at}]") for at, example in enumerate(group)]
    total = math.fsum(weights)
    return [
        _example(example, f"{field}[{at}]", sign * weight / total)
        for at, (example, weight) in enumerate(zip(group, weights, strict=True))
    ]


def _weight(example: pb.Example, field: str) -> float:
    weight = example.weight if example.HasField("weight") else 1.0
    if not 0.0 < weight < 1e9:
        raise InvalidInput(
            f"{field}.weight: expected above 0 and below 1e9, got {weight}", field=f"{field}.weight"
        )
    return weight


def _example(example: pb.Example, field: str, weight: float) -> Part:
    kind = example.WhichOneof("kind")
    if kind == "item_id":
        check_id(example.item_id)
        return Part(field, item_id=example.item_id, weight=weight)
    if kind == "text":
        return Part(field, content=text_content(example.text, f"{field}.text"), weight=weight)
    if kind == "vector":
        return Part(field, vector=vector_from(example.vector, f"{field}.vector"), weight=weight)
    if kind == "media":
        modality = _modality(example.media, f"{field}.media")
        return Part(field, content=media_content(example.media, modality, f"{field}.media"), weight=weight)
    raise EmptyQuery(f"{field}: expected an item id, a text, a vector or media; got none", field=field)


def _modality(media: content_pb2.Media, field: str) -> Modality:
    """Tell what an example is: by its mime type, else by its bytes, or by the ending of its uri."""
    mime_type = media.mime_type
    if not mime_type and media.content:
        kind = sniff(media.content[:HEAD_BYTES])
        mime_type = kind.mime_type if kind else ""
    elif not mime_type:
        mime_type = mimetypes.guess_type(media.uri)[0] or ""
    try:
        return _MEDIA[mime_type.partition("/")[0]]
    except KeyError:
        got = repr(mime_type[:80]) if mime_type else "bytes or a uri that tell no such"
        raise MediaUnreadable(
            f"{field}: expected a picture, a sound or a video, named by its mime_type; got {got}", field=field
        ) from None


def _fusion(query: pb.HybridQuery) -> Fusion:
    kind = query.WhichOneof("fusion")
    if kind == "rrf":
        rrf = query.rrf
        field = "query.hybrid.rrf"
        k = _number(rrf.k if rrf.HasField("k") else 60.0, f"{field}.k", 1e-9, 1e9)
        dense = _number(
            rrf.dense_weight if rrf.HasField("dense_weight") else 1.0, f"{field}.dense_weight", 0, 1e9
        )
        lexical = _number(
            rrf.lexical_weight if rrf.HasField("lexical_weight") else 1.0, f"{field}.lexical_weight", 0, 1e9
        )
        if dense == lexical == 0.0:
            raise InvalidInput(f"{field}: expected a weight above 0, got two zeros", field=field)
        return RrfFusion(k=k, dense_weight=dense, lexical_weight=lexical)
    if kind == "linear" and query.linear.HasField("alpha"):
        return LinearFusion(alpha=_number(query.linear.alpha, "query.hybrid.linear.alpha", 0.0, 1.0))
    return _LEARNED


def _threshold(request: pb.SearchRequest) -> float | None:
    if not request.HasField("score_threshold"):
        return None
    if not math.isfinite(request.score_threshold):
        raise InvalidInput(
            f"score_threshold: expected a finite number, got {request.score_threshold}",
            field="score_threshold",
        )
    return request.score_threshold


def _moments(request: pb.SearchRequest) -> int:
    moments = request.moments if request.HasField("moments") else 1
    if not 1 <= moments <= MAX_MOMENTS:
        raise InvalidInput(f"moments: expected 1 to {MAX_MOMENTS}, got {moments}", field="moments")
    return moments


def _params(params: pb.SearchParams) -> SearchParams:
    return SearchParams(
        effort=int(_number(params.effort, "params.effort", 0, MAX_EFFORT)),
        exact=params.exact,
        allow_partial=params.allow_partial if params.HasField("allow_partial") else None,
        oversampling=_number(params.oversampling or 1.0, "params.oversampling", 1.0, MAX_OVERSAMPLING),
    )


def _diversity(diversity: pb.Diversity) -> Diversity | None:
    weight = _number(diversity.weight if diversity.HasField("weight") else 0.3, "diversity.weight", 0.0, 1.0)
    candidates = int(_number(diversity.candidates, "diversity.candidates", 0, MAX_LIMIT))
    return Diversity(weight=weight, candidates=candidates) if weight else None


def _number(value: float, field: str, low: float, high: float) -> float:
    if not low <= value <= high:  # NaN fails too
        raise InvalidInput(f"{field}: expected {low:g} to {high:g}, got {value:g}", field=field)
    return value
