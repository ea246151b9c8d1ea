"""The asynchronous client: `Client`, awaited."""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from functools import cached_property
from types import TracebackType
from typing import Self, TypeVar, Unpack

import grpc

from retrieval.errors import DeadlineExceeded, TwinspireError, Unavailable
from retrieval.filters import Filter
from twinspire import calls
from twinspire.async_upsert_stream import cut_async, send_requests_async
from twinspire.attempts import Attempts
from twinspire.calls import Call, Methods, Side
from twinspire.client import (
    DEFAULT_TARGET,
    DEFAULT_TIMEOUT_S,
    HEALTH_CHECK_TIMEOUT_S,
    HEALTH_PAUSE_S,
)
from twinspire.connection import Tls, connection
from twinspire.faults import checked_timeout
from twinspire.queries import SearchOptions, SearchQuery, as_query
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
    UpsertReport,
)
from twinspire.retries import RetryPolicy
from twinspire.upserts import (
    DEFAULT_BYTES_PER_REQUEST,
    DEFAULT_ITEMS_PER_REQUEST,
    AnyItem,
    RequestCutter,
    UnacknowledgedRequests,
)

ResultT = TypeVar("ResultT")


class AsyncClient:
    """Talks to a Twinspire server from asyncio; belongs to the event loop it is first used in.

    Methods, arguments and errors are those of `Client`, which describes them.

    Example:
        async with AsyncClient("127.0.0.1:50051") as client:
            result = await client.search("demo", "who painted the night watch", limit=5)
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        api_key: str | None = None,
        tls: Tls | bool | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retries: RetryPolicy | None = None,
    ) -> None:
        """Prepare a connection, which is made by the first call."""
        self.target = target
        self.timeout_s = timeout_s
        self.retries = retries or RetryPolicy()
        self._connection = connection(target, api_key, tls)
        self._opened: grpc.aio.Channel | None = None

    @cached_property
    def _channel(self) -> grpc.aio.Channel:
        # A channel takes the running loop, so none is made before there is one.
        self._opened = self._connection.open_aio()
        return self._opened

    @cached_property
    def _methods(self) -> Methods:
        return Methods(self._channel)

    async def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        if self._opened is not None:
            await self._opened.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def search(
        self,
        collection: str,
        query: str | SearchQuery | None = None,
        *,
        timeout_s: float | None = None,
        **options: Unpack[SearchOptions],
    ) -> SearchResult:
        """Find the items nearest to a query; see `Client.search`."""
        return await self._run(calls.search(collection, as_query(query, options)), timeout_s)

    async def batch_search(
        self,
        collection: str,
        queries: Sequence[str | SearchQuery],
        *,
        timeout_s: float | None = None,
    ) -> list[SearchResult | TwinspireError]:
        """Search by up to 256 queries in one call; see `Client.batch_search`."""
        return await self._run(calls.batch_search(collection, queries), timeout_s)

    async def upsert_many(
        self,
        collection: str,
        items: Iterable[AnyItem] | AsyncIterable[AnyItem],
        *,
        on_progress: Callable[[UpsertReport], None] | None = None,
        create_collection: bool = True,
        max_items: int = DEFAULT_ITEMS_PER_REQUEST,
        max_bytes: int = DEFAULT_BYTES_PER_REQUEST,
        timeout_s: float | None = None,
    ) -> UpsertReport:
        """Store items, however many, from an iterable or an async one; see `Client.upsert_many`."""
        requests = cut_async(RequestCutter(collection, create_collection, max_items, max_bytes), items)
        pending = UnacknowledgedRequests()
        while True:
            try:
                await send_requests_async(
                    self._channel,
                    self._connection,
                    requests,
                    pending,
                    on_progress,
                    self._timeout(timeout_s),
                )
                return pending.report
            except TwinspireError as error:
                pause_s = pending.reconnect(error, self.retries)
            await asyncio.sleep(pause_s)

    async def delete_items(
        self,
        collection: str,
        *,
        ids: Sequence[str] | None = None,
        filter: Filter | str | None = None,
        validate_only: bool = False,
        timeout_s: float | None = None,
    ) -> DeleteResult:
        """Delete up to 1,000 ids, or whatever a filter matches; `validate_only` just counts."""
        return await self._run(
            calls.delete_items(collection, ids, filter, validate_only=validate_only), timeout_s
        )

    async def get_items(
        self, collection: str, ids: Sequence[str], *, timeout_s: float | None = None
    ) -> GetResult:
        """Get up to 1,000 items by id."""
        return await self._run(calls.get_items(collection, ids), timeout_s)

    async def list_items(
        self,
        collection: str,
        *,
        filter: Filter | str | None = None,
        page_size: int = 1000,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Item]:
        """Iterate over all items that match, in the order of their last change, page by page."""
        page_token = ""
        while True:
            page = await self._run(calls.list_items(collection, filter, page_size, page_token), timeout_s)
            for item in page.items:
                yield item
            page_token = page.next_page_token
            if not page_token:
                return

    async def count_items(
        self, collection: str, *, filter: Filter | str | None = None, timeout_s: float | None = None
    ) -> int:
        """Count the items that match."""
        return await self._run(calls.count_items(collection, filter), timeout_s)

    async def encode(
        self,
        texts: Sequence[str],
        *,
        collection: str = "",
        encoder: str = "",
        side: Side = "query",
        timeout_s: float | None = None,
    ) -> Encoded:
        """Encode 1 to 256 texts by a collection's live encoder, or by one named `name` or `name@version`."""
        return await self._run(calls.encode(texts, collection, encoder, side), timeout_s)

    async def list_encoders(self, *, timeout_s: float | None = None) -> list[Encoder]:
        """List the encoders that are served."""
        return await self._run(calls.list_encoders(), timeout_s)

    async def list_collections(self, *, timeout_s: float | None = None) -> list[Collection]:
        """List the collections."""
        return await self._run(calls.list_collections(), timeout_s)

    async def get_collection(self, collection: str, *, timeout_s: float | None = None) -> Collection:
        """Get one collection's counts, live version and encoder."""
        return await self._run(calls.get_collection(collection), timeout_s)

    async def list_versions(self, collection: str, *, timeout_s: float | None = None) -> list[IndexVersion]:
        """List a collection's index versions, newest first."""
        return await self._run(calls.list_versions(collection), timeout_s)

    async def set_live_version(
        self, collection: str, version: str, *, expected_version: str, timeout_s: float | None = None
    ) -> LiveVersionChange:
        """Switch the live version, unless another than `expected_version` is live: then `VersionMoved`."""
        return await self._run(calls.set_live_version(collection, version, expected_version), timeout_s)

    async def server_info(self, *, timeout_s: float | None = None) -> ServerInfo:
        """Ask for the server's version, limits, backends and encoders."""
        return await self._run(calls.server_info(), timeout_s)

    async def is_ready(self, *, timeout_s: float = HEALTH_CHECK_TIMEOUT_S) -> bool:
        """Tell whether the server answers and is warm."""
        try:
            return await self._run(calls.health(), timeout_s)
        except (Unavailable, DeadlineExceeded):
            return False

    async def wait_until_ready(self, timeout_s: float = 30.0) -> None:
        """Wait until the server answers and is warm; see `Client.wait_until_ready`."""
        deadline = time.monotonic() + timeout_s
        while not await self.is_ready(timeout_s=min(HEALTH_CHECK_TIMEOUT_S, timeout_s)):
            if time.monotonic() + HEALTH_PAUSE_S > deadline:
                raise DeadlineExceeded(f"the server at {self.target} was not ready within {timeout_s:g} s")
            await asyncio.sleep(HEALTH_PAUSE_S)

    def _timeout(self, timeout_s: float | None) -> float:
        return checked_timeout(self.timeout_s if timeout_s is None else timeout_s)

    async def _run(self, call: Call[ResultT], timeout_s: float | None) -> ResultT:
        """Make a call, again where that can help, until its deadline."""
        retries = self.retries if call.idempotent else None
        attempts = Attempts(self.target, retries, self._timeout(timeout_s))
        send, metadata = self._methods.of(call), self._connection.metadata
        while True:
            try:
                return call.read(await send(call.request, timeout=attempts.left_s, metadata=metadata))
            except grpc.aio.AioRpcError as failed:
                pause_s = attempts.pause_s(failed)
            await asyncio.sleep(pause_s)
