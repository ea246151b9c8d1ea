"""What is served now: the live version of each collection, swapped without a gap."""

import asyncio
import copy
import logging
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from typing import Any

from encoders.encoder import Encoder
from retrieval.backend_errors import BackendFault
from retrieval.chunking import Chunking
from retrieval.collections import collection_names, require_collection
from retrieval.errors import BackendUnavailable, TwinspireError, Unavailable
from retrieval.publishing import live_version, promote
from retrieval.workspace import Workspace
from server.config import ServerConfig
from server.failures import known, unexpected
from server.freshness import make_freshness
from server.health import Health
from server.loading import LoadedVersion, Loader
from server.logs import log
from server.metrics import Metrics
from server.served import Served
from server.workers import Workers

# Versions other than the live ones that are kept loaded for requests that name them.
MAX_NAMED_VERSIONS = 2


class Live:
    """Holds the served versions, loads what the database says is live, and keeps health in step."""

    def __init__(
        self,
        ws: Workspace,
        config: ServerConfig,
        loader: Loader,
        workers: Workers,
        metrics: Metrics,
        health: Health,
    ) -> None:
        self._ws = ws
        self._config = config
        self._loader = loader
        self._freshness = make_freshness(ws, workers, config.max_catch_up_segments)
        self._workers = workers
        self._metrics = metrics
        self._health = health
        self._served: dict[str, Served] = {}
        self._aliases: dict[str, str | None] = {}  # as last seen in the database
        self._faults: dict[str, TwinspireError] = {}  # why a live version is not served, where that may pass
        self._named: OrderedDict[tuple[str, str], Served] = OrderedDict()
        self._swapping = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()
        self._loading = True  # the first loading is not over

    @property
    def served(self) -> dict[str, Served]:
        """The live versions that are loaded, by collection."""
        return self._served

    @property
    def has_faults(self) -> bool:
        """Whether some live version is not served for a reason that may pass."""
        return bool(self._faults)

    @property
    def queued(self) -> int:
        """Searches that wait or are being answered."""
        return sum(served.pipeline.queued for served in (*self._served.values(), *self._named.values()))

    def encoder(self, collection: str) -> Encoder | None:
        """Return the live encoder of a collection, if it is loaded."""
        served = self._served.get(collection)
        return served.loaded.encoder if served else None

    def chunking(self, collection: str) -> Chunking | None:
        """Tell how to cut the long texts of a collection for its live encoder."""
        encoder = self.encoder(collection)
        if encoder is None or not encoder.card.max_words:
            return None
        return Chunking(encoder.card.max_words, encoder.card.max_words // 6)

    async def find(self, collection: str, version: str = "") -> Served:
        """Return what is to answer a search.

        Raises:
            CollectionNotFound: if there is no such collection.
            VersionNotFound: if it has no such version.
            BackendUnavailable: if no version is live, or it is still being loaded.
            FailedPrecondition: if its backend cannot be used.
            InternalError: if its backend refuses the server.
        """
        served = self._served.get(collection)
        if served is not None and version in ("", served.version):
            return served
        if version:
            return await self._find_named(collection, version)
        await self._workers.reads.run(require_collection, self._ws, collection)
        if collection in self._faults:
            raise copy.copy(self._faults[collection])
        if self._aliases.get(collection) or self._loading:
            raise BackendUnavailable(f"collection {collection!r} is being loaded, or cannot be: retry later")
        raise BackendUnavailable(f"collection {collection!r} has no live index yet: build one, then retry")

    async def _find_named(self, collection: str, version: str) -> Served:
        key = (collection, version)
        if key not in self._named:
            await self._workers.reads.run(require_collection, self._ws, collection)
            loaded = await self._workers.loads.run(self._loader.load, collection, version)
            if key in self._named:  # someone else was faster
                loaded.close()
            else:
                self._named[key] = Served(loaded, self._metrics, self._config)
        self._named.move_to_end(key)
        while len(self._named) > MAX_NAMED_VERSIONS:
            self._retire(self._named.popitem(last=False)[1])
        return self._named[key]

    async def set_live(self, collection: str, version: str, expected: str) -> str:
        """Switch the live version, if it is still the expected one; return the one before.

        The new version is loaded and warm before the old one is let go: no search fails or waits.

        Raises:
            CollectionNotFound: if there is no such collection.
            VersionNotFound: if it has no such version.
            VersionMoved: if another version is live than the expected one.
            FailedPrecondition: if the version cannot be served; the old one stays.
        """
        await self._workers.reads.run(require_collection, self._ws, collection)
        async with self._swapping:
            current = self._served.get(collection)
            loaded = None
            if current is None or current.version != version:
                loaded = await self._workers.loads.run(self._loader.load, collection, version)
            try:
                await self._workers.writes.run(promote, self._ws, collection, version, expected)
            except BaseException:
                if loaded is not None:
                    await asyncio.to_thread(loaded.close)
                raise
            self._aliases[collection] = version
            if loaded is not None:
                await self._swap(collection, loaded)
        return expected

    async def _swap(self, collection: str, loaded: LoadedVersion) -> None:
        """Flip the reference; what was written under another encoder is encoded before and after it."""
        old = self._served.get(collection)
        if old is not None:
            await self._freshness.catch_up(loaded)
        served = self._served[collection] = Served(loaded, self._metrics, self._config)
        self._metrics.swaps.inc()
        log("version live", collection=collection, version=served.version)
        if old is not None:
            self._retire(old)
        await self._tell_health()
        self._in_background(self._catch_up_served(served))

    async def _catch_up_served(self, served: Served) -> None:
        with served:
            try:
                await self._freshness.catch_up(served.loaded)
            except TwinspireError as error:  # such as a workspace that may only be read
                log(
                    "some items cannot be found yet",
                    level=logging.WARNING,
                    collection=served.loaded.collection,
                    reason=error.reason,
                    why=str(error),
                )
            except Exception as error:
                unexpected("catch up", error)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _retire(self, served: Served) -> None:
        self._in_background(served.retire())

    async def _tell_health(self) -> None:
        complete = all(served.loaded.encoder is not None for served in self._served.values())
        await self._health.set_serving(bool(self._served) and complete and not self._loading)

    async def absorb(self, collection: str, ids: Sequence[str]) -> None:
        """Encode items that were just stored, and let the live version find them.

        Without a live encoder there is nothing to do: an index that is built later reads them.
        """
        while True:
            served = self._served.get(collection)
            if served is None or served.loaded.encoder is None or not ids:
                return
            with served:
                await self._freshness.encode_items(served.loaded, ids)
                await self._workers.writes.run(served.loaded.searcher.share, ids)
            if self._served.get(collection) is served:
                return  # else the version was swapped meanwhile, and the new one must find them too

    async def forget(self, collection: str, ids: Sequence[str]) -> None:
        """Let no server find items that were just deleted."""
        served = self._served.get(collection)
        if served is not None and ids:
            with served:
                await self._workers.writes.run(served.loaded.searcher.forget, ids)

    async def start(self) -> None:
        """Load every collection's live version."""
        try:
            await self.follow()
        except Unavailable as error:  # the watcher tries again
            log("loading failed", level=logging.ERROR, reason=error.reason, why=str(error))
        self._loading = False
        await self._tell_health()

    async def follow(self) -> None:
        """Load what became live, and let go of what no longer is; `has_faults` tells if some could not be.

        Raises:
            Unavailable: if the aliases cannot be read now.
        """
        async with self._swapping:
            aliases = await self._workers.loads.run(self._read_aliases)
            for collection in self._aliases.keys() - aliases.keys():
                self._aliases.pop(collection)
                self._faults.pop(collection, None)
                if served := self._served.pop(collection, None):
                    self._retire(served)
            for collection, version in aliases.items():
                if version != self._aliases.get(collection):
                    try:
                        await self._load_live(collection)
                    except (Unavailable, BackendFault) as error:
                        self._note_fault(collection, error)
                        continue
                    self._faults.pop(collection, None)
                    self._aliases[collection] = version
        self._metrics.ready.set(len(self._served))
        await self._tell_health()

    def _note_fault(self, collection: str, error: TwinspireError) -> None:
        """Remember why a version is not served yet; the watcher tries again. The same again is no news."""
        if str(self._faults.get(collection)) != str(error):
            log(
                "version not loaded yet",
                level=logging.ERROR,
                collection=collection,
                reason=error.reason,
                why=str(error),
            )
        self._faults[collection] = error

    def _read_aliases(self) -> dict[str, str | None]:
        return {name: live_version(self._ws, name) for name in collection_names(self._ws)}

    async def _load_live(self, collection: str) -> None:
        try:
            loaded = await self._workers.loads.run(self._loader.load_live, collection)
        except (Unavailable, BackendFault):
            raise  # it may pass
        except Exception as error:
            # What is served already stays: an old version answers better than none.
            failure = known("load", error)
            log(
                "version refused",
                level=logging.ERROR,
                collection=collection,
                reason=failure.reason,
                why=str(failure),
            )
            self._metrics.errors.labels(failure.reason).inc()
            return
        current = self._served.get(collection)
        if loaded is None:
            return
        if current is not None and current.version == loaded.opened.version:
            loaded.close()
        else:
            await self._swap(collection, loaded)

    async def refresh(self) -> None:
        """Let each version find what other processes encoded; one whose backend is away holds up no other.

        Raises:
            TwinspireError: the first that a version raised.
        """
        faults = []
        for served in list(self._served.values()):
            with served:
                try:
                    await self._freshness.refresh(served.loaded)
                except TwinspireError as error:
                    faults.append(error)
        if faults:
            raise faults[0]

    async def close(self) -> None:
        """Release all versions."""
        everything = [*self._served.values(), *self._named.values()]
        self._served.clear()
        self._named.clear()
        for served in everything:
            self._retire(served)
        while self._background:
            await asyncio.gather(*self._background, return_exceptions=True)
