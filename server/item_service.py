"""ItemService: writes and reads the items of a collection."""

from collections.abc import Sequence

from protos.twinspire.v1 import items_pb2 as pb
from retrieval.chunking import Chunking
from retrieval.content import Modality
from retrieval.errors import InvalidFilter, InvalidInput, TwinspireError
from retrieval.filters import Filter
from retrieval.item_store import ItemStore
from retrieval.items import Item, UpsertCounts, validate_item
from server.calls import Context
from server.live import Live
from server.metrics import Metrics
from server.paging import PageTokens, listing_name
from server.prepared import MediaFiles
from server.status import clip, status_of
from server.translation.filters import filter_from
from server.translation.items import item_from, item_to
from server.workers import Workers

MAX_ITEMS = 1000
DEFAULT_PAGE = 100
# A page ends early rather than outgrow what clients take in one message by default, 4 MiB.
MAX_PAGE_BYTES = 3 << 20


class ItemService:
    """Stores, deletes, gets, lists and counts items."""

    def __init__(
        self,
        store: ItemStore,
        files: MediaFiles,
        live: Live,
        workers: Workers,
        metrics: Metrics,
        tokens: PageTokens,
    ) -> None:
        self._store = store
        self._files = files
        self._live = live
        self._workers = workers
        self._metrics = metrics
        self._tokens = tokens

    async def upsert_items(self, request: pb.UpsertItemsRequest, _context: Context) -> pb.UpsertItemsResponse:
        """Answer one request of UpsertItems once its items are durable and found by searches."""
        _check_count("items", len(request.items))
        if any(item.uri for item in request.items):  # files are looked at, which may take a while
            items, errors = await self._workers.reads.run(self._valid_items, request)
        else:
            items, errors = self._valid_items(request)
        chunking = self._live.chunking(request.collection)
        counts, last = await self._workers.writes.run(
            self._upsert, request.collection, items, request.create_collection, chunking
        )
        await self._live.absorb(request.collection, [item.id for item in items])
        self._metrics.upserted.inc(len(items))
        return pb.UpsertItemsResponse(
            sequence=last,
            inserted=counts.inserted,
            replaced=counts.replaced,
            unchanged=counts.unchanged,
            errors=errors,
        )

    def _valid_items(self, request: pb.UpsertItemsRequest) -> tuple[list[Item], list[pb.ItemError]]:
        """Tell the items that can be stored from those that cannot, and say why."""
        items: list[Item] = []
        errors: list[pb.ItemError] = []
        for index, message in enumerate(request.items):
            try:
                item = item_from(message)
                validate_item(item)
                items.append(item if item.modality == Modality.TEXT else self._files.identify(item))
            except TwinspireError as error:
                errors.append(pb.ItemError(index=index, id=clip(message.id), error=status_of(error)))
        return items, errors

    def _upsert(
        self, collection: str, items: Sequence[Item], create: bool, chunking: Chunking | None
    ) -> tuple[UpsertCounts, int]:
        if create:
            self._store.create(collection)
        else:
            self._store.require(collection)
        counts = UpsertCounts(0, 0, 0)
        if items:
            counts = self._store.upsert(collection, items, chunking)
        return counts, self._store.sequence(collection)

    async def delete_items(self, request: pb.DeleteItemsRequest, _context: Context) -> pb.DeleteItemsResponse:
        """Answer DeleteItems."""
        what = request.WhichOneof("what")
        filter = None
        if what == "ids":
            _check_count("ids.ids", len(request.ids.ids))
        elif what == "filter":
            filter = filter_from(request.filter)
            if filter is None:
                raise InvalidFilter("filter: expected a condition, for an empty filter deletes everything")
        else:
            raise InvalidInput("expected ids or a filter, got neither", field="what")
        ids = list(dict.fromkeys(request.ids.ids))
        if request.validate_only:
            return await self._workers.reads.run(self._preview, request.collection, ids, filter)
        found = await self._workers.writes.run(self._store.delete, request.collection, ids, filter)
        await self._live.forget(request.collection, found)
        self._metrics.deleted.inc(len(found))
        return await self._workers.reads.run(self._deletion, request.collection, ids, found)

    def _preview(self, collection: str, ids: list[str], filter: Filter | None) -> pb.DeleteItemsResponse:
        if filter is not None:
            count = self._store.count(collection, filter)
            return pb.DeleteItemsResponse(deleted=count, sequence=self._store.sequence(collection))
        found = [item.id for item in self._store.get(collection, ids)]
        return self._deletion(collection, ids, found)

    def _deletion(self, collection: str, ids: list[str], found: list[str]) -> pb.DeleteItemsResponse:
        there = set(found)
        return pb.DeleteItemsResponse(
            deleted=len(found),
            sequence=self._store.sequence(collection),
            missing_ids=[id for id in ids if id not in there],
        )

    async def get_items(self, request: pb.GetItemsRequest, _context: Context) -> pb.GetItemsResponse:
        """Answer GetItems."""
        _check_count("ids", len(request.ids))
        return await self._workers.reads.run(self._get, request)

    def _get(self, request: pb.GetItemsRequest) -> pb.GetItemsResponse:
        items = self._store.get(request.collection, request.ids)
        found = {item.id for item in items}
        missing = [id for id in dict.fromkeys(request.ids) if id not in found]
        return pb.GetItemsResponse(items=map(item_to, items), missing_ids=missing)

    async def list_items(self, request: pb.ListItemsRequest, _context: Context) -> pb.ListItemsResponse:
        """Answer ListItems."""
        size = request.page_size if request.HasField("page_size") else DEFAULT_PAGE
        if not 1 <= size <= MAX_ITEMS:
            raise InvalidInput(f"page_size: expected 1 to {MAX_ITEMS}, got {size}", field="page_size")
        return await self._workers.reads.run(self._list, request, size)

    def _list(self, request: pb.ListItemsRequest, size: int) -> pb.ListItemsResponse:
        filter = filter_from(request.filter)
        listing = listing_name(request.collection, request.filter.SerializeToString(deterministic=True))
        after = self._tokens.read(listing, request.page_token) if request.page_token else 0
        stored = self._store.list(request.collection, filter, after, size + 1)
        response = pb.ListItemsResponse()
        room = MAX_PAGE_BYTES
        for item in stored[:size]:
            message = item_to(item)
            room -= message.ByteSize()
            if room < 0 and response.items:
                break
            response.items.append(message)
        shown = len(response.items)
        if shown < len(stored):
            response.next_page_token = self._tokens.make(listing, stored[shown - 1].rowid)
        return response

    async def count_items(self, request: pb.CountItemsRequest, _context: Context) -> pb.CountItemsResponse:
        """Answer CountItems."""
        filter = filter_from(request.filter)
        count = await self._workers.reads.run(self._store.count, request.collection, filter)
        return pb.CountItemsResponse(count=count)


def _check_count(field: str, count: int) -> None:
    if not 1 <= count <= MAX_ITEMS:
        raise InvalidInput(f"{field}: expected 1 to {MAX_ITEMS}, got {count}", field=field)
