"""From protobuf messages to the client's values."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf.struct_pb2 import Struct, Value
from numpy.typing import NDArray

from protos.twinspire.v1 import (
    collections_pb2,
    content_pb2,
    encoders_pb2,
    items_pb2,
    search_pb2,
    server_pb2,
)
from retrieval.errors import TwinspireError
from retrieval.search import ScoreKind
from twinspire.faults import error_from_status
from twinspire.results import (
    Backend,
    Collection,
    Database,
    DeleteResult,
    Encoded,
    Encoder,
    Explanation,
    GetResult,
    Hit,
    IndexVersion,
    Item,
    LiveVersionChange,
    Modality,
    SearchResult,
    ServerInfo,
    Timing,
)

_SCORE_KINDS = {
    search_pb2.SCORE_KIND_FUSED: ScoreKind.FUSED,
    search_pb2.SCORE_KIND_EXAMPLES: ScoreKind.EXAMPLES,
    search_pb2.SCORE_KIND_ASPECTS: ScoreKind.ASPECTS,
}
_MODALITIES: Mapping[int, Modality] = {
    items_pb2.MODALITY_IMAGE: "image",
    items_pb2.MODALITY_AUDIO: "audio",
    items_pb2.MODALITY_VIDEO: "video",
}


def search_result(message: search_pb2.SearchResponse) -> SearchResult:
    """Read the answer to one query."""
    return SearchResult(
        hits=tuple(_hit(hit) for hit in message.hits),
        score_kind=_SCORE_KINDS.get(message.score_kind, ScoreKind.COSINE),
        index_version=message.index_version,
        encoder_fingerprint=message.encoder_fingerprint,
        model_version=message.model_version,
        variant=message.variant,
        search_id=message.search_id,
        timing=Timing(
            encode_ms=message.timing.encode_ms,
            search_ms=message.timing.search_ms,
            fetch_ms=message.timing.fetch_ms,
            queue_ms=message.timing.queue_ms,
            total_ms=message.timing.total_ms,
            batch_size=message.timing.batch_size,
        ),
        threshold=message.threshold if message.HasField("threshold") else None,
        partial=message.partial,
        truncated_query=message.truncated_query,
    )


def batch_result(message: search_pb2.BatchSearchResponse) -> list[SearchResult | TwinspireError]:
    """Read the answers to a batch: one that failed is its error, as a value."""
    return [
        search_result(result.response)
        if result.WhichOneof("outcome") == "response"
        else error_from_status(result.error)
        for result in message.results
    ]


def _hit(message: search_pb2.Hit) -> Hit:
    return Hit(
        id=message.id,
        score=message.score,
        rank=message.rank,
        text=message.text,
        attributes=attributes(message.attributes),
        uri=message.uri,
        span=(message.span.start, message.span.end) if message.HasField("span") else None,
        vector=_vector(message.vector) if message.HasField("vector") else None,
        relevance=message.relevance if message.HasField("relevance") else None,
        explanation=_explanation(message.explanation) if message.HasField("explanation") else None,
    )


def _explanation(message: search_pb2.Explanation) -> Explanation:
    return Explanation(
        source=message.source,
        plan=message.plan,
        matching_segments=message.matching_segments,
        dense_score=message.dense_score if message.HasField("dense_score") else None,
        dense_rank=message.dense_rank if message.HasField("dense_rank") else None,
        lexical_score=message.lexical_score if message.HasField("lexical_score") else None,
        lexical_rank=message.lexical_rank if message.HasField("lexical_rank") else None,
        alpha=message.alpha if message.HasField("alpha") else None,
    )


def _vector(message: content_pb2.DenseVector) -> NDArray[np.float32]:
    if message.f32le:
        return np.frombuffer(message.f32le, dtype="<f4").astype(np.float32)
    return np.asarray(message.values, dtype=np.float32)


def attributes(message: Struct) -> dict[str, Any]:
    """Read attributes. Whole numbers come back as integers: a Struct does not know the difference."""
    return {name: _json_value(value) for name, value in message.fields.items()}


def _json_value(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "list_value":
            return [_json_value(element) for element in value.list_value.values]
        case "struct_value":
            return attributes(value.struct_value)
    return None


def item(message: items_pb2.Item) -> Item:
    """Read an item."""
    return Item(
        id=message.id,
        text=message.text,
        attributes=attributes(message.attributes),
        uri=message.uri,
        modality=_MODALITIES.get(message.modality, "text"),
    )


def get_result(message: items_pb2.GetItemsResponse) -> GetResult:
    """Read the items that were asked for."""
    return GetResult(
        items=tuple(item(found) for found in message.items), missing_ids=tuple(message.missing_ids)
    )


def delete_result(message: items_pb2.DeleteItemsResponse) -> DeleteResult:
    """Read what a deletion did."""
    return DeleteResult(
        deleted=message.deleted, missing_ids=tuple(message.missing_ids), sequence=message.sequence
    )


def encoded(message: encoders_pb2.EncodeResponse) -> Encoded:
    """Read encoded vectors."""
    rows = [_vector(vector) for vector in message.vectors]
    return Encoded(
        vectors=np.stack(rows) if rows else np.empty((0, 0), dtype=np.float32),
        encoder_fingerprint=message.encoder_fingerprint,
        truncated=tuple(message.truncated),
    )


def encoder(message: encoders_pb2.EncoderCard) -> Encoder:
    """Read an encoder card."""
    return Encoder(
        name=message.name,
        version=message.version,
        kind=message.kind,
        modalities=tuple(message.modalities),
        dims=message.dims,
        fingerprint=message.fingerprint,
        max_words=message.max_words,
        training_data_digest=message.training_data_digest,
        metrics=attributes(message.metrics),
        live=message.live,
    )


def collection(message: collections_pb2.Collection) -> Collection:
    """Read a collection's state."""
    return Collection(
        name=message.name,
        item_count=message.item_count,
        segment_count=message.segment_count,
        unindexed_count=message.unindexed_count,
        live_version=message.live_version,
        encoder=encoder(message.encoder) if message.HasField("encoder") else None,
        ready=message.ready,
    )


def index_version(message: collections_pb2.IndexVersion) -> IndexVersion:
    """Read an index version."""
    return IndexVersion(
        version=message.version,
        backend=message.backend,
        state=message.state,
        live=message.live,
        count=message.count,
        dims=message.dims,
        encoder_fingerprint=message.encoder_fingerprint,
        model_version=message.model_version,
        recall=message.recall,
        parameters=attributes(message.parameters),
        created_at=message.created_at,
        size_bytes=message.size_bytes,
    )


def live_version_change(message: collections_pb2.SetLiveVersionResponse) -> LiveVersionChange:
    """Read a switch of the live version."""
    return LiveVersionChange(previous_version=message.previous_version, live_version=message.live_version)


def _database(message: server_pb2.DatabaseState) -> Database:
    return Database(
        fault=message.fault,
        nodes=message.nodes,
        cluster=message.cluster,
        used_bytes=message.used_bytes,
        max_bytes=message.max_bytes,
        eviction_policy=message.eviction_policy,
        append_only=message.append_only,
        collection_bytes=dict(message.collection_bytes),
        concerns=tuple(message.concerns),
    )


def server_info(message: server_pb2.GetServerInfoResponse) -> ServerInfo:
    """Read what the server is."""
    return ServerInfo(
        version=message.version,
        limits={
            field.name: getattr(message.limits, field.name) for field in message.limits.DESCRIPTOR.fields
        },
        backends=tuple(
            Backend(
                name=backend.name,
                version=backend.version,
                filtered_search=backend.filtered_search,
                exact_search=backend.exact_search,
                returns_vectors=backend.returns_vectors,
                memory_mapped=backend.memory_mapped,
                gpu=backend.gpu,
                database=_database(backend.database) if backend.HasField("database") else None,
            )
            for backend in message.backends
        ),
        encoders=tuple(encoder(card) for card in message.encoders),
        uptime_s=message.uptime_s,
    )
