"""Watching the workspace: what other processes promote and write is taken over while the server runs."""

import asyncio
import logging
import time

from retrieval.errors import TwinspireError
from retrieval.workspace import Workspace
from server.failures import unexpected
from server.live import Live
from server.logs import log
from server.workers import Workers

_RETRY_S = 0.5  # until it is tried again to load what could not be loaded


async def watch(ws: Workspace, live: Live, workers: Workers, interval_s: float) -> None:
    """Let what is live follow the workspace, until cancelled."""
    seen = None
    told = ""  # the last error that was logged: the same again is no news
    stale = False
    rested = 0.0  # when the next refresh may begin
    again = 0.0  # when what could not be loaded is tried again
    while True:
        await asyncio.sleep(interval_s)
        try:
            state = await workers.loads.run(_state, ws, live)
            if state != seen or (live.has_faults and time.monotonic() >= again):
                await live.follow()
                again = time.monotonic() + _RETRY_S
                seen, stale = state, stale or state != seen
            started = time.monotonic()
            if stale and started >= rested:
                await live.refresh()
                # A refresh reads all fresh rows: under steady writes it gets a tenth of the time.
                rested = time.monotonic() + 10 * (time.monotonic() - started)
                stale = False
            told = ""
        except TwinspireError as error:
            if told != str(error):
                log("watching failed", level=logging.WARNING, reason=error.reason, why=str(error))
            told = str(error)
            await asyncio.sleep(_RETRY_S)
        except Exception as error:
            unexpected("watch", error)


def _state(ws: Workspace, live: Live) -> list[int]:
    """Return what differs once anything was written, to the database or beside it. Blocks: use a thread."""
    beside = [served.loaded.searcher.changes() for served in list(live.served.values())]
    return [int(ws.fetch("PRAGMA data_version")[0][0]), *beside]
