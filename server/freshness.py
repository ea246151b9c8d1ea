"""Making findable what came after the index was built: encode it, store and search its vectors beside it."""

import logging
from collections.abc import Sequence

from encoders.encoder import Encoder
from retrieval.content import Content, Modality
from retrieval.errors import TwinspireError
from retrieval.item_vectors import pending_segments_of
from retrieval.segments import pending_segments
from retrieval.workspace import Workspace
from server.loading import LoadedVersion, encode_each, store_vectors
from server.logs import log
from server.workers import Workers

ENCODE_BATCH = 256


class Freshness:
    """Encodes what a loaded version does not know yet."""

    def __init__(self, ws: Workspace, workers: Workers, max_catch_up: int) -> None:
        """Take at most so many segments when catching up; more are the indexer's work."""
        self._ws = ws
        self._workers = workers
        self._max_catch_up = max_catch_up

    async def encode_items(self, loaded: LoadedVersion, ids: Sequence[str]) -> None:
        """Encode items that were just stored.

        Raises:
            EncoderFault: if some cannot be encoded; the others are findable.
        """
        if loaded.encoder is None:
            return
        card = loaded.encoder.card
        pending = await self._workers.reads.run(
            pending_segments_of,
            self._ws,
            loaded.collection,
            card.fingerprint,
            ids,
            card.modalities,
            loaded.opened.manifest.window_s,
        )
        for start in range(0, len(pending), ENCODE_BATCH):
            error = await self._encode(loaded, loaded.encoder, pending[start : start + ENCODE_BATCH])
            if error is not None:
                raise error

    async def catch_up(self, loaded: LoadedVersion) -> None:
        """Make findable what was written under another version: encode it, and read what others encoded."""
        done, after = 0, loaded.opened.manifest.built_key
        while loaded.encoder is not None and done < self._max_catch_up:
            pending = await self._workers.reads.run(
                pending_segments,
                self._ws,
                loaded.collection,
                loaded.encoder.card.fingerprint,
                limit=ENCODE_BATCH,
                after_key=after,
                modalities=[Modality(modality) for modality in loaded.encoder.card.modalities],
                window_s=loaded.opened.manifest.window_s,
            )
            if not pending:
                break
            if await self._encode(loaded, loaded.encoder, pending) is not None:
                log("some segments cannot be encoded", level=logging.WARNING, collection=loaded.collection)
            done, after = done + len(pending), pending[-1][0]
        await self._workers.writes.run(loaded.searcher.refresh)

    async def _encode(
        self, loaded: LoadedVersion, encoder: Encoder, pending: list[tuple[int, Content]]
    ) -> TwinspireError | None:
        """Encode segments, store their vectors and let them be found; return what went wrong with some."""
        keys, vectors, error = await self._workers.encodings.run(encode_each, encoder, pending)
        await self._workers.writes.run(store_vectors, self._ws, encoder, keys, vectors)
        await self._workers.writes.run(loaded.searcher.add_fresh, keys, vectors)
        return error

    async def refresh(self, loaded: LoadedVersion) -> None:
        """Find what other processes encoded. In the writing thread, for it must not overtake `add_fresh`."""
        if drained := await self._workers.writes.run(loaded.searcher.drain):
            await self.encode_items(loaded, drained)
            await self._workers.writes.run(loaded.searcher.share, drained)
        await self._workers.writes.run(loaded.searcher.refresh)


def make_freshness(ws: Workspace, workers: Workers, max_catch_up: int) -> Freshness:
    """Make what fits the workspace."""
    if not ws.mirrors_redis:
        return Freshness(ws, workers, max_catch_up)
    from server.lone_freshness import LoneFreshness  # needs redis

    return LoneFreshness(ws, workers, max_catch_up)
