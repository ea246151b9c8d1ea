"""Streaming items to a server: cutting them into requests, and what is known of those on their way."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from protos.twinspire.v1 import items_pb2
from retrieval.errors import TwinspireError
from twinspire.faults import error_from_status
from twinspire.messages import item_message
from twinspire.results import Item, ItemFailure, UpsertReport
from twinspire.retries import RetryPolicy

MAX_ITEMS_PER_REQUEST = 1000  # the server's limit
DEFAULT_ITEMS_PER_REQUEST = 500
DEFAULT_BYTES_PER_REQUEST = 1 << 20  # gRPC servers take 4 MiB by default
WINDOW = 8  # unacknowledged requests: enough to keep a server busy, few enough to hold in memory
MAX_FAILURES_KEPT = 1000

AnyItem: TypeAlias = Item | Mapping[str, Any]


@dataclass(slots=True)
class RequestCutter:
    """Cuts a stream of items into requests, by count and by bytes."""

    collection: str
    create_collection: bool
    max_items: int
    max_bytes: int
    _items: list[items_pb2.Item] = field(default_factory=list)
    _bytes: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.max_items <= MAX_ITEMS_PER_REQUEST:
            raise ValueError(f"max_items: expected 1 to {MAX_ITEMS_PER_REQUEST}, got {self.max_items}")
        if self.max_bytes < 1:
            raise ValueError(f"max_bytes: expected at least 1, got {self.max_bytes}")

    def add(self, item: AnyItem) -> items_pb2.UpsertItemsRequest | None:
        """Take an item in; return the request that is full without it, if one is."""
        message = item_message(item)
        size = message.ByteSize()
        full = self._items and (len(self._items) >= self.max_items or self._bytes + size > self.max_bytes)
        request = self.rest() if full else None
        self._items.append(message)
        self._bytes += size
        return request

    def rest(self) -> items_pb2.UpsertItemsRequest | None:
        """Return a request with what is left, if anything is."""
        if not self._items:
            return None
        request = items_pb2.UpsertItemsRequest(
            collection=self.collection, items=self._items, create_collection=self.create_collection
        )
        self._items, self._bytes = [], 0
        return request

    def cut(self, items: Iterable[AnyItem]) -> Iterator[items_pb2.UpsertItemsRequest]:
        """Cut a whole iterable, reading only one request ahead."""
        for item in items:
            if request := self.add(item):
                yield request
        if request := self.rest():
            yield request


@dataclass(slots=True)
class UnacknowledgedRequests:
    """The requests that were made but not yet acknowledged, in order: what a new stream must resend."""

    requests: deque[items_pb2.UpsertItemsRequest] = field(default_factory=deque)
    report: UpsertReport = field(default_factory=UpsertReport)
    _broken: int = 0  # streams, since the last acknowledgement

    @property
    def full(self) -> bool:
        """Whether to wait for an acknowledgement before making more."""
        return len(self.requests) >= WINDOW

    def acknowledge(self, answer: items_pb2.UpsertItemsResponse) -> UpsertReport:
        """Note that the oldest request is durable; return the totals so far."""
        before = self.report
        failures = [
            ItemFailure(
                position=before.acknowledged + refused.index,
                id=refused.id,
                error=error_from_status(refused.error),
            )
            for refused in answer.errors
        ]
        room = MAX_FAILURES_KEPT - len(before.failures)
        self._broken = 0
        self.report = replace(
            before,
            acknowledged=before.acknowledged + len(self.requests.popleft().items),
            inserted=before.inserted + answer.inserted,
            replaced=before.replaced + answer.replaced,
            unchanged=before.unchanged + answer.unchanged,
            refused=before.refused + len(failures),
            failures=before.failures + tuple(failures[:room]),
            sequence=max(before.sequence, answer.sequence),
        )
        return self.report

    def reconnect(self, error: TwinspireError, retries: RetryPolicy) -> float:
        """Note that the stream broke and is replaced; return how long to wait before that.

        Raises:
            TwinspireError: that error, with how far the upsert came, if another stream would not help.
        """
        self._broken += 1
        pause_s = retries.delay_s(error, self._broken)
        if pause_s is None:
            error.add_note(f"{self.report.acknowledged} items were stored before this")
            raise error
        self.report = replace(self.report, reconnects=self.report.reconnects + 1)
        return pause_s
