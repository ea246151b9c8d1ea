"""One worker of several: a server that takes its orders over a pipe from the process that started it."""

import asyncio
import contextlib
import os
import signal
from multiprocessing.connection import Connection

from retrieval.errors import TwinspireError
from server.app import Server, open_workspace
from server.config import ServerConfig
from server.logs import configure_logs, log
from server.memory import settle_memory
from server.shared_rates import SharedRates
from server.threads import event_loop_runner, share_cores, use_one_thread_per_call

# What goes over the pipe: (kind, what).
READY = "ready"
FAILED = "failed"
TELL_METRICS = "metrics"
STOP = ("stop", None)


def run_worker(config: ServerConfig, pipe: Connection, rates: SharedRates) -> None:
    """Serve until told to stop, or until whoever started this is gone."""
    configure_logs()
    share_cores(config.workers)
    use_one_thread_per_call()
    for number in (signal.SIGTERM, signal.SIGINT):  # a terminal sends them to all: the starter decides
        signal.signal(number, signal.SIG_IGN)
    try:
        event_loop_runner()(_serve(config, pipe, rates))
    except TwinspireError as error:
        with contextlib.suppress(OSError):
            pipe.send((FAILED, str(error)))
        raise SystemExit(1) from None


async def _serve(config: ServerConfig, pipe: Connection, rates: SharedRates) -> None:
    stop = asyncio.Event()
    with open_workspace(config.workspace) as ws:
        server = Server(ws, config, rates=rates)

        def obey() -> None:
            try:
                kind, _ = pipe.recv()
                if kind == TELL_METRICS:
                    pipe.send((TELL_METRICS, list(server.metrics.registry.collect())))
                    return
            except (EOFError, OSError):
                log("the process that started this worker is gone")
                os._exit(1)  # at once, for the next server is to have the port
            loop.remove_reader(pipe.fileno())
            stop.set()

        await server.start()
        settle_memory()
        loop = asyncio.get_running_loop()
        pipe.send((READY, len(server.live.served)))
        loop.add_reader(pipe.fileno(), obey)
        await stop.wait()
        await server.stop()
