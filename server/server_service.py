"""ServerService: tells what this server is."""

import asyncio
import time
from importlib.metadata import PackageNotFoundError, version

from protos.twinspire.v1 import server_pb2 as pb
from retrieval.filter_sql import MAX_CONDITIONS
from retrieval.index import Capabilities
from retrieval.items import MAX_ID_BYTES, MAX_TEXT_BYTES
from retrieval.search import MAX_LIMIT
from server.calls import Context
from server.config import ServerConfig
from server.database_state import redis_state
from server.item_service import MAX_ITEMS
from server.live import Live
from server.search_service import MAX_BATCH_REQUESTS
from server.translation.cards import backend_to, card_to

# The distribution that a backend's version is read from.
_DISTRIBUTIONS = {"faiss": ("faiss-cpu", "faiss-gpu-cu12"), "exact": ("numpy",)}


class ServerService:
    """Tells version, limits, backends and encoders."""

    def __init__(self, config: ServerConfig, live: Live) -> None:
        self._config = config
        self._live = live
        self._started = time.monotonic()

    async def get_server_info(
        self, _request: pb.GetServerInfoRequest, _context: Context
    ) -> pb.GetServerInfoResponse:
        """Answer GetServerInfo."""
        served = [version.loaded for version in self._live.served.values()]
        backends = {loaded.opened.index.capabilities.backend: loaded for loaded in served}
        cards = {loaded.encoder.card.fingerprint: loaded.encoder.card for loaded in served if loaded.encoder}
        return pb.GetServerInfoResponse(
            version=_version("twinspire"),
            limits=self._limits(),
            backends=[
                await _backend(name, loaded.opened.index.capabilities)
                for name, loaded in sorted(backends.items())
            ],
            encoders=[card_to(card, live=True) for card in cards.values()],
            uptime_s=time.monotonic() - self._started,
        )

    def _limits(self) -> pb.Limits:
        return pb.Limits(
            max_limit=MAX_LIMIT,
            max_batch_requests=MAX_BATCH_REQUESTS,
            max_upsert_items=MAX_ITEMS,
            max_request_bytes=self._config.max_request_bytes,
            max_id_bytes=MAX_ID_BYTES,
            max_text_bytes=MAX_TEXT_BYTES,
            max_filter_conditions=MAX_CONDITIONS,
            max_queued_searches=self._config.max_queued_searches,
        )


async def _backend(name: str, capabilities: Capabilities) -> pb.Backend:
    if name == "redis":
        return backend_to(capabilities, *await asyncio.to_thread(redis_state))
    return backend_to(capabilities, _version(*_DISTRIBUTIONS.get(name, (name,))))


def _version(*distributions: str) -> str:
    for distribution in distributions:
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return ""
