"""The synchronous client."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar, Unpack

import grpc

from retrieval.errors import DeadlineExceeded, TwinspireError, Unavailable
from retrieval.filters import Filter
from twinspire import calls
from twinspire.attempts import Attempts
from twinspire.calls import Call, Methods, Side
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
from twinspire.upsert_stream import send_requests
from twinspire.upserts import (
    DEFAULT_BYTES_PER_REQUEST,
    DEFAULT_ITEMS_PER_REQUEST,
    AnyItem,
    RequestCutter,
    UnacknowledgedRequests,
)

ResultT = TypeVar("ResultT")

DEFAULT_TARGET = "127.0.0.1:50051"
DEFAULT_TIMEOUT_S = 10.0
HEALTH_CHECK_TIMEOUT_S = 2.0
HEALTH_PAUSE_S = 0.05


class Client:
    """Talks to a Twinspire server. May be shared by threads; close it, or use it as a context manager.

    Every method takes `timeout_s`, the time for the whole call with its retries (by default the client's),
    and raises a `TwinspireError`: the same class that the server raised, `Unavailable` when nobody
    answers, `DeadlineExceeded` when the time is up.

    Example:
        with Client("127.0.0.1:50051") as client:
            for hit in client.search("demo", "who painted the night watch", limit=5).hits:
                print(hit.rank, hit.score, hit.text)
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
        """Prepare a connection, which is made by the first call.

        Args:
            target: host:port of the server.
            api_key: the key to send; None takes $TWINSPIRE_API_KEY, or the file $TWINSPIRE_API_KEY_FILE, if
                set, and "" sends none.
            tls: `Tls(ca=...)`, True for the system's authorities, False for clear text; None connects by TLS
                if $TWINSPIRE_TLS_CA names authorities, else in clear, but sends no key so to another machine.
            timeout_s: the default deadline of a call, its retries included.
            retries: how often and when a failed call is tried again; default `RetryPolicy()`.

        Raises:
            InvalidInput: if the key or a certificate cannot be used.
        """
        self.target = target
        self.timeout_s = timeout_s
        self.retries = retries or RetryPolicy()
        self._connection = connection(target, api_key, tls)
        self._channel = self._connection.open()
        self._methods = Methods(self._channel)

    def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def search(
        self,
        collection: str,
        query: str | SearchQuery | None = None,
        *,
        timeout_s: float | None = None,
        **options: Unpack[SearchOptions],
    ) -> SearchResult:
        """Find the items nearest to a query.

        Ask by a text (with `hybrid=True` also by BM25), or by one of `vector=`, `item_id=` and `positives=`
        (with `negatives=`). The other options, such as `limit=` and `filter=`, are those of `SearchQuery`,
        which can also be given whole.
        """
        return self._run(calls.search(collection, as_query(query, options)), timeout_s)

    def batch_search(
        self,
        collection: str,
        queries: Sequence[str | SearchQuery],
        *,
        timeout_s: float | None = None,
    ) -> list[SearchResult | TwinspireError]:
        """Search by up to 256 queries in one call; a query that fails is its error in the list."""
        return self._run(calls.batch_search(collection, queries), timeout_s)

    def upsert_many(
        self,
        collection: str,
        items: Iterable[AnyItem],
        *,
        on_progress: Callable[[UpsertReport], None] | None = None,
        create_collection: bool = True,
        max_items: int = DEFAULT_ITEMS_PER_REQUEST,
        max_bytes: int = DEFAULT_BYTES_PER_REQUEST,
        timeout_s: float | None = None,
    ) -> UpsertReport:
        """Store items, however many: the iterable is streamed and never held in memory.

        Each request of at most `max_items` and `max_bytes` is acknowledged once it is durable. When the
        stream breaks, a new one goes on from the last acknowledged request; what was stored but not yet
        acknowledged then counts as unchanged. Refused items are in the report, the others are stored.

        Args:
            collection: where to.
            items: `Item`s, or mappings with the same fields; a generator is fine.
            on_progress: called with the report so far after each acknowledgement.
            create_collection: make the collection if there is none.
            max_items: per request, 1 to 1000.
            max_bytes: per request; a single larger item goes alone.
            timeout_s: how long to wait for one acknowledgement.
        """
        requests = RequestCutter(collection, create_collection, max_items, max_bytes).cut(items)
        pending = UnacknowledgedRequests()
        while True:
            try:
                send_requests(
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
            time.sleep(pause_s)

    def delete_items(
        self,
        collection: str,
        *,
        ids: Sequence[str] | None = None,
        filter: Filter | str | None = None,
        validate_only: bool = False,
        timeout_s: float | None = None,
    ) -> DeleteResult:
        """Delete up to 1,000 ids, or whatever a filter matches; `validate_only` just counts."""
        return self._run(calls.delete_items(collection, ids, filter, validate_only=validate_only), timeout_s)

    def get_items(self, collection: str, ids: Sequence[str], *, timeout_s: float | None = None) -> GetResult:
        """Get up to 1,000 items by id."""
        return self._run(calls.get_items(collection, ids), timeout_s)

    def list_items(
        self,
        collection: str,
        *,
        filter: Filter | str | None = None,
        page_size: int = 1000,
        timeout_s: float | None = None,
    ) -> Iterator[Item]:
        """Iterate over all items that match, in the order of their last change, page by page."""
        page_token = ""
        while True:
            page = self._run(calls.list_items(collection, filter, page_size, page_token), timeout_s)
            yield from page.items
            page_token = page.next_page_token
            if not page_token:
                return

    def count_items(
        self, collection: str, *, filter: Filter | str | None = None, timeout_s: float | None = None
    ) -> int:
        """Count the items that match."""
        return self._run(calls.count_items(collection, filter), timeout_s)

    def encode(
        self,
        texts: Sequence[str],
        *,
        collection: str = "",
        encoder: str = "",
        side: Side = "query",
        timeout_s: float | None = None,
    ) -> Encoded:
        """Encode 1 to 256 texts by a collection's live encoder, or by one named `name` or `name@version`."""
        return self._run(calls.encode(texts, collection, encoder, side), timeout_s)

    def list_encoders(self, *, timeout_s: float | None = None) -> list[Encoder]:
        """List the encoders that are served."""
        return self._run(calls.list_encoders(), timeout_s)

    def list_collections(self, *, timeout_s: float | None = None) -> list[Collection]:
        """List the collections."""
        return self._run(calls.list_collections(), timeout_s)

    def get_collection(self, collection: str, *, timeout_s: float | None = None) -> Collection:
        """Get one collection's counts, live version and encoder."""
        return self._run(calls.get_collection(collection), timeout_s)

    def list_versions(self, collection: str, *, timeout_s: float | None = None) -> list[IndexVersion]:
        """List a collection's index versions, newest first."""
        return self._run(calls.list_versions(collection), timeout_s)

    def set_live_version(
        self, collection: str, version: str, *, expected_version: str, timeout_s: float | None = None
    ) -> LiveVersionChange:
        """Switch the live version, unless another than `expected_version` is live: then `VersionMoved`."""
        return self._run(calls.set_live_version(collection, version, expected_version), timeout_s)

    def server_info(self, *, timeout_s: float | None = None) -> ServerInfo:
        """Ask for the server's version, limits, backends and encoders."""
        return self._run(calls.server_info(), timeout_s)

    def is_ready(self, *, timeout_s: float = HEALTH_CHECK_TIMEOUT_S) -> bool:
        """Tell whether the server answers and is warm."""
        try:
            return self._run(calls.health(), timeout_s)
        except (Unavailable, DeadlineExceeded):
            return False

    def wait_until_ready(self, timeout_s: float = 30.0) -> None:
        """Wait until the server answers and is warm.

        Raises:
            DeadlineExceeded: if it is not by then.
        """
        deadline = time.monotonic() + timeout_s
        while not self.is_ready(timeout_s=min(HEALTH_CHECK_TIMEOUT_S, timeout_s)):
            if time.monotonic() + HEALTH_PAUSE_S > deadline:
                raise DeadlineExceeded(f"the server at {self.target} was not ready within {timeout_s:g} s")
            time.sleep(HEALTH_PAUSE_S)

    def _timeout(self, timeout_s: float | None) -> float:
        return checked_timeout(self.timeout_s if timeout_s is None else timeout_s)

    def _run(self, call: Call[ResultT], timeout_s: float | None) -> ResultT:
        """Make a call, again where that can help, until its deadline."""
        retries = self.retries if call.idempotent else None
        attempts = Attempts(self.target, retries, self._timeout(timeout_s))
        send, metadata = self._methods.of(call), self._connection.metadata
        while True:
            try:
                return call.read(send(call.request, timeout=attempts.left_s, metadata=metadata))
            except grpc.RpcError as failed:
                pause_s = attempts.pause_s(failed)
            time.sleep(pause_s)
