"""Several worker processes behind one port: each a whole server over the same mapped index.

Python runs one thread at a time, so one process cannot use more than about one and a half cores. The kernel
shares connections out among the workers (SO_REUSEPORT). They share nothing else but the workspace: writes are
ordered by SQLite, and what one worker acknowledged the next search on any other finds, for it asks SQLite
whether anything changed (`Searcher.search`).
"""

import contextlib
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from types import FrameType

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import Metric

from retrieval.errors import BackendUnavailable, FailedPrecondition
from server.config import ServerConfig
from server.logs import configure_logs, log
from server.shared_rates import SharedRates
from server.worker_process import READY, STOP, TELL_METRICS, run_worker

# A worker that dies is replaced at once, one that dies again within this time later and later.
_STEADY_S = 10.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_METRICS_TIMEOUT_S = 2.0
_POLL_S = 0.2


class WorkerFailed(FailedPrecondition):
    """A worker process could not start."""

    reason = "WORKER_FAILED"


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    pipe: Connection
    started: float  # monotonic
    pause_s: float  # before the next one takes its place, if it dies soon


class Fleet:
    """The workers of one server, seen from the process that started them."""

    def __init__(self, config: ServerConfig) -> None:
        """Take what all workers are started with; a port of 0 becomes one that is free.

        Raises:
            BackendUnavailable: if the port is taken.
        """
        self._reserved = _reserve(config.host, config.port)
        self.port: int = self._reserved.getsockname()[1]
        self._config = replace(
            config,
            port=self.port,
            share_port=True,
            metrics_port=None,
            search_threads=config.search_threads or 1,
        )
        self._context: SpawnContext = multiprocessing.get_context("spawn")
        self._rates = SharedRates(self._context)
        self._workers: list[_Worker] = []
        self._stopping = False
        self._scraping = threading.Lock()

    def start(self) -> int:
        """Start the workers, and return how many collections they serve once all are ready.

        Raises:
            WorkerFailed: with the reason, if one cannot start.
        """
        self._workers = [self._start_worker(_FIRST_PAUSE_S) for _ in range(self._config.workers)]
        told = []
        for worker in self._workers:
            try:
                kind, what = worker.pipe.recv()
            except EOFError:
                kind, what = "", "it ended without a word: see the log"
            if kind != READY:
                raise WorkerFailed(f"a worker could not start: {what}")
            told.append(int(what))
        return min(told)

    def _start_worker(self, pause_s: float) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=run_worker, args=(self._config, theirs, self._rates), name="worker"
        )
        process.start()
        theirs.close()
        return _Worker(process, ours, time.monotonic(), pause_s)

    def watch(self) -> None:
        """Replace workers that die, until told to stop."""
        while not self._stopping:
            wait([worker.process.sentinel for worker in self._workers], timeout=_POLL_S)
            for place, worker in enumerate(self._workers):
                if not self._stopping and worker.process.exitcode is not None:
                    self._replace(place, worker)

    def _replace(self, place: int, worker: _Worker) -> None:
        steady = time.monotonic() - worker.started > _STEADY_S
        pause_s = _FIRST_PAUSE_S if steady else min(2 * worker.pause_s, _LONGEST_PAUSE_S)
        log("worker died", exit_code=worker.process.exitcode, pid=worker.process.pid, pause_s=pause_s)
        worker.pipe.close()
        time.sleep(pause_s)
        self._workers[place] = self._start_worker(pause_s)

    def stop(self) -> None:
        """Let every worker finish, and wait for them; the slowest are killed."""
        self._stopping = True
        for worker in self._workers:
            with contextlib.suppress(OSError):
                worker.pipe.send(STOP)
        latest = time.monotonic() + 2 * self._config.shutdown_grace_s
        for worker in self._workers:
            worker.process.join(max(0.0, latest - time.monotonic()))
            if worker.process.exitcode is None:
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
        self._reserved.close()

    def ask_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        """Handle a signal: stop at the first, end at once at the second; workers notice that."""
        if self._stopping:
            os._exit(1)
        self._stopping = True

    def collect(self) -> Iterator[Metric]:
        """Gather the metrics of all workers, for Prometheus: each sample gets the label `worker`."""
        merged: dict[str, Metric] = {}
        with self._scraping:
            told = [_metrics_of(worker.pipe) for worker in list(self._workers)]
        for place, metrics in enumerate(told):
            for metric in metrics:
                family = merged.setdefault(
                    metric.name, Metric(metric.name, metric.documentation, metric.type)
                )
                for sample in metric.samples:
                    labels = {**sample.labels, "worker": str(place)}
                    family.samples.append(sample._replace(labels=labels))
        yield from merged.values()


def _metrics_of(pipe: Connection) -> list[Metric]:
    try:
        pipe.send((TELL_METRICS, None))
        while pipe.poll(_METRICS_TIMEOUT_S):
            kind, what = pipe.recv()
            if kind == TELL_METRICS:
                return list(what)
    except (OSError, EOFError):
        pass  # it died a moment ago
    return []


def _reserve(host: str, port: int) -> socket.socket:
    """Bind a port that workers may share, and nobody else has.

    Raises:
        BackendUnavailable: if it is taken.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    try:
        with socket.socket(family, kind, protocol) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)  # fails if another server, of ours too, is there
            address = alone.getsockname()
        shared = socket.socket(family, kind, protocol)
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind(address)
    except OSError:
        message = f"cannot listen on {host}:{port}: is another server running there?"
        raise BackendUnavailable(message) from None
    return shared


def serve_fleet(config: ServerConfig, announce: Callable[[str], None]) -> None:
    """Run `config.workers` servers behind one port until SIGTERM or SIGINT.

    Raises:
        WorkerFailed: if one cannot start.
        BackendUnavailable: if the port is taken.
    """
    configure_logs()
    fleet = Fleet(config)
    before = [
        (number, signal.signal(number, fleet.ask_to_stop)) for number in (signal.SIGTERM, signal.SIGINT)
    ]
    metrics = None
    try:
        collections = fleet.start()
        if config.metrics_port is not None:
            registry = CollectorRegistry()
            registry.register(fleet)
            metrics, _ = start_http_server(config.metrics_port, addr=config.metrics_host, registry=registry)
        announce(f"serving {collections} collections on {config.host}:{fleet.port}")
        log("serving", port=fleet.port, workers=config.workers)
        fleet.watch()
    finally:
        fleet.stop()
        if metrics is not None:
            metrics.shutdown()
            metrics.server_close()
        for number, handler in before:
            signal.signal(number, handler)
