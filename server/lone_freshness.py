"""Making findable what servers without a database store: encode it, and put its vectors into Redis."""

import logging
from collections.abc import Sequence

from retrieval.content import Content
from retrieval.errors import TwinspireError
from retrieval.redis_item import RedisItem
from retrieval.redis_searcher import LoneRedisSearcher
from server.freshness import ENCODE_BATCH, Freshness
from server.loading import LoadedVersion, encode_each
from server.logs import log


class LoneFreshness(Freshness):
    """Encodes what a server without a database finds in Redis."""

    async def encode_items(self, loaded: LoadedVersion, ids: Sequence[str]) -> None:
        """Encode items that were just stored.

        Raises:
            EncoderFault: if some cannot be encoded; the others are findable.
        """
        if loaded.encoder is not None:
            searcher = loaded.searcher
            assert isinstance(searcher, LoneRedisSearcher)
            error = await self._add(loaded, await self._workers.reads.run(searcher.pending, ids))
            if error is not None:
                raise error

    async def catch_up(self, loaded: LoadedVersion) -> None:
        """Encode what servers without a database wrote under another version."""
        searcher = loaded.searcher
        assert isinstance(searcher, LoneRedisSearcher)
        pending = await self._workers.reads.run(searcher.pending_provisional)
        if await self._add(loaded, pending[: self._max_catch_up]) is not None:
            log("some segments cannot be encoded", level=logging.WARNING, collection=loaded.collection)
        await self._workers.writes.run(searcher.refresh)

    async def _add(
        self, loaded: LoadedVersion, pending: list[tuple[int, Content, RedisItem]]
    ) -> TwinspireError | None:
        """Encode segments and put their vectors into Redis; return what went wrong with some."""
        searcher, encoder, last = loaded.searcher, loaded.encoder, None
        assert isinstance(searcher, LoneRedisSearcher)
        if encoder is None:
            return None
        for start in range(0, len(pending), ENCODE_BATCH):
            part = pending[start : start + ENCODE_BATCH]
            owners = {key: item for key, _, item in part}
            contents = [(key, content) for key, content, _ in part]
            keys, vectors, error = await self._workers.encodings.run(encode_each, encoder, contents)
            items = [owners[key] for key in keys.tolist()]
            await self._workers.writes.run(searcher.add, keys, vectors, items)
            last = error or last
        return last
