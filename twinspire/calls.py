"""Every unary call of the API, once: its path, its request, and how its answer is read.

`Client` and `AsyncClient` only differ in how they carry a call out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from protos.twinspire.v1 import collections_pb2, encoders_pb2, filters_pb2, items_pb2, search_pb2, server_pb2
from retrieval.errors import InvalidInput, TwinspireError
from retrieval.filters import Filter
from twinspire import answers
from twinspire.messages import filter_message, search_message
from twinspire.queries import SearchQuery, as_query
from twinspire.results import (
    Collection,
    DeleteResult,
    Encoded,
    Encoder,
    GetResult,
    IndexVersion,
    Item,
    LiveVersionChange,
    SearchResult,
    ServerInfo,
)

ResultT = TypeVar("ResultT")

Side: TypeAlias = Literal["query", "item"]

SEARCH_SERVICE = "twinspire.v1.SearchService"
UPSERT_PATH = "/twinspire.v1.ItemService/UpsertItems"


@dataclass(frozen=True, slots=True)
class Call(Generic[ResultT]):
    """One call, ready to be made, several times if need be."""

    path: str
    request: Message
    response_type: type[Message]
    read: Callable[[Any], ResultT]
    idempotent: bool = True  # only these are tried again


class Methods:
    """What carries calls out on a channel, plain or asynchronous. Each is made once: that takes its time."""

    def __init__(self, channel: Any) -> None:
        """Make nothing yet."""
        self._channel = channel
        self._made: dict[str, Any] = {}

    def of(self, call: Call[Any]) -> Any:
        """Return what carries a call out."""
        method = self._made.get(call.path)
        if method is None:
            method = self._made[call.path] = self._channel.unary_unary(
                call.path,
                request_serializer=type(call.request).SerializeToString,
                response_deserializer=call.response_type.FromString,
            )
        return method


def search(collection: str, query: SearchQuery) -> Call[SearchResult]:
    """Search by one query."""
    return Call(
        f"/{SEARCH_SERVICE}/Search",
        search_message(collection, query),
        search_pb2.SearchResponse,
        answers.search_result,
    )


def batch_search(
    collection: str, queries: Sequence[str | SearchQuery]
) -> Call[list[SearchResult | TwinspireError]]:
    """Search by several queries at once."""
    described = [as_query(query, {}) for query in queries]
    return Call(
        f"/{SEARCH_SERVICE}/BatchSearch",
        search_pb2.BatchSearchRequest(requests=[search_message(collection, query) for query in described]),
        search_pb2.BatchSearchResponse,
        answers.batch_result,
    )


def delete_items(
    collection: str, ids: Sequence[str] | None, filter: Filter | str | None, *, validate_only: bool
) -> Call[DeleteResult]:
    """Delete by ids or by a filter."""
    if (ids is None) == (filter is None):
        raise InvalidInput("delete_items takes exactly one of ids and filter", field="what")
    request = items_pb2.DeleteItemsRequest(collection=collection, validate_only=validate_only)
    if ids is not None:
        request.ids.CopyFrom(items_pb2.ItemIds(ids=ids))
    else:
        request.filter.MergeFrom(filter_message(filter) or filters_pb2.Filter())
        request.filter.SetInParent()
    return Call(
        "/twinspire.v1.ItemService/DeleteItems", request, items_pb2.DeleteItemsResponse, answers.delete_result
    )


def get_items(collection: str, ids: Sequence[str]) -> Call[GetResult]:
    """Get items by id."""
    return Call(
        "/twinspire.v1.ItemService/GetItems",
        items_pb2.GetItemsRequest(collection=collection, ids=ids),
        items_pb2.GetItemsResponse,
        answers.get_result,
    )


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing."""

    items: tuple[Item, ...]
    next_page_token: str  # empty: that was the last


def list_items(collection: str, filter: Filter | str | None, page_size: int, page_token: str) -> Call[Page]:
    """Get one page of items."""
    return Call(
        "/twinspire.v1.ItemService/ListItems",
        items_pb2.ListItemsRequest(
            collection=collection, filter=filter_message(filter), page_size=page_size, page_token=page_token
        ),
        items_pb2.ListItemsResponse,
        lambda message: Page(tuple(answers.item(item) for item in message.items), message.next_page_token),
    )


def count_items(collection: str, filter: Filter | str | None) -> Call[int]:
    """Count items."""
    return Call(
        "/twinspire.v1.ItemService/CountItems",
        items_pb2.CountItemsRequest(collection=collection, filter=filter_message(filter)),
        items_pb2.CountItemsResponse,
        lambda message: int(message.count),
    )


def encode(texts: Sequence[str], collection: str, encoder: str, side: Side) -> Call[Encoded]:
    """Encode texts."""
    return Call(
        "/twinspire.v1.EncoderService/Encode",
        encoders_pb2.EncodeRequest(
            collection=collection,
            encoder=encoder,
            side=encoders_pb2.SIDE_ITEM if side == "item" else encoders_pb2.SIDE_QUERY,
            inputs=[encoders_pb2.EncodeInput(text=text) for text in texts],
        ),
        encoders_pb2.EncodeResponse,
        answers.encoded,
    )


def list_encoders() -> Call[list[Encoder]]:
    """List the served encoders."""
    return Call(
        "/twinspire.v1.EncoderService/ListEncoders",
        encoders_pb2.ListEncodersRequest(),
        encoders_pb2.ListEncodersResponse,
        lambda message: [answers.encoder(card) for card in message.encoders],
    )


def list_collections() -> Call[list[Collection]]:
    """List the collections."""
    return Call(
        "/twinspire.v1.CollectionService/ListCollections",
        collections_pb2.ListCollectionsRequest(),
        collections_pb2.ListCollectionsResponse,
        lambda message: [answers.collection(found) for found in message.collections],
    )


def get_collection(collection: str) -> Call[Collection]:
    """Get one collection's state."""
    return Call(
        "/twinspire.v1.CollectionService/GetCollection",
        collections_pb2.GetCollectionRequest(collection=collection),
        collections_pb2.GetCollectionResponse,
        lambda message: answers.collection(message.collection),
    )


def list_versions(collection: str) -> Call[list[IndexVersion]]:
    """List a collection's index versions."""
    return Call(
        "/twinspire.v1.CollectionService/ListIndexVersions",
        collections_pb2.ListIndexVersionsRequest(collection=collection),
        collections_pb2.ListIndexVersionsResponse,
        lambda message: [answers.index_version(version) for version in message.versions],
    )


def set_live_version(collection: str, version: str, expected_version: str) -> Call[LiveVersionChange]:
    """Switch the live version. Not tried again: had the first try succeeded, a second would say it moved."""
    return Call(
        "/twinspire.v1.CollectionService/SetLiveVersion",
        collections_pb2.SetLiveVersionRequest(
            collection=collection, version=version, expected_version=expected_version
        ),
        collections_pb2.SetLiveVersionResponse,
        answers.live_version_change,
        idempotent=False,
    )


def server_info() -> Call[ServerInfo]:
    """Ask what the server is."""
    return Call(
        "/twinspire.v1.ServerService/GetServerInfo",
        server_pb2.GetServerInfoRequest(),
        server_pb2.GetServerInfoResponse,
        answers.server_info,
    )


def health() -> Call[bool]:
    """Ask whether searches are served."""
    return Call(
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest(service=SEARCH_SERVICE),
        health_pb2.HealthCheckResponse,
        lambda message: message.status == health_pb2.HealthCheckResponse.SERVING,
        idempotent=False,  # `wait_until_ready` has its own pace
    )
