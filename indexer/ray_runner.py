"""Encoding on several processes or machines by Ray: the same vectors, committed by the driver alone.

A shard is some segments. A worker encodes a shard and gives its rows back; the driver stores them, so
the embeddings table is the manifest of what is done: a shard that was lost on the way is simply not in it.
"""

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.extras import require
from encoders.loading import load_encoder
from encoders.memory import EncoderOutOfMemory
from indexer.runners import Batch, Made, Make, Work, decoding, maker
from retrieval.dead_letters import DeadLetter
from retrieval.device import chosen_device, use_device
from retrieval.errors import EncoderFault, InternalError, TwinspireError
from retrieval.failpoints import failpoint

# Segments of a shard: small enough that all workers get some, and that little is done again.
SHARD_SEGMENTS = 256
# Shards that a worker has: one that it encodes, and one on its way.
SHARDS_EACH = 2
# How often a shard may lose its worker before it is halved, to find the segment that does it.
MAX_LOSSES = 2
# A shard of at least so many that fails altogether means that it is the encoder's fault.
SHARED_FAULT = 8
# For shards on their way; more than a few media batches never wait.
OBJECT_STORE_BYTES = 512 << 20
LOOPBACK = "127.0.0.1"


class WorkerLost(InternalError):
    """A worker died again and again, whatever it was given."""

    reason = "WORKER_LOST"


@dataclass(slots=True)
class _Shard:
    batch: Batch
    losses: int = 0  # workers that died with it


@dataclass(slots=True, eq=False)
class _Worker:
    handle: Any
    has: list[Any] = field(default_factory=list)  # references to what it was asked
    is_fresh: bool = True  # it was never asked anything


class ShardEncoder:
    """What runs in a worker: an encoder, opened from its folder, and what decodes for it."""

    def __init__(
        self, folder: str, features: bool, fingerprint: str, roots: Mapping[str, str], device: str
    ) -> None:
        """Open the encoder; the decoder's processes live as long as this one."""
        use_device(device)
        encoder = load_encoder(Path(folder))
        self._make = maker(encoder, features=features)
        self._fingerprint = fingerprint
        self._opened = decoding(encoder, {name: Path(path) for name, path in roots.items()}, fingerprint)
        self._decode = self._opened.__enter__()

    def run(self, batch: Batch) -> Made | tuple[str, str]:
        """Decode and encode a shard; what cannot be is set aside, row by row.

        Returns:
            What was made; or the reason and the message of what is wrong altogether.
        """
        failpoint("ray-shard")
        try:
            good, letters = self._decode(batch)
            started = time.perf_counter()
            made = made_row_by_row(self._make, good, self._fingerprint)
            made.encoder_s = time.perf_counter() - started
        except TwinspireError as error:
            return error.reason, str(error)
        made.letters = letters + made.letters
        return made


def made_row_by_row(make: Make, batch: Batch, fingerprint: str) -> Made:
    """Encode a batch; if that fails, halves of it, until what fails alone is known.

    Raises:
        EncoderFault: if all of many fail: it is not theirs, then.
        EncoderOutOfMemory: if a single segment does not fit into the memory.
    """
    kept: Batch = []
    rows: list[NDArray[np.float32]] = []
    letters: list[DeadLetter] = []
    waiting = deque([batch] if batch else [])
    fault: TwinspireError | None = None
    while waiting:
        part = waiting.popleft()
        try:
            rows.append(make([content for _, content in part]))
            kept += part
        except EncoderOutOfMemory:
            raise
        except Exception as error:
            fault = _known(error)
            if len(part) > 1:
                half = len(part) // 2
                waiting.extendleft([part[half:], part[:half]])
            else:
                key, content = part[0]
                letters.append(DeadLetter(content.uri, fault.reason, str(fault), key, fingerprint))
    if fault is not None and not kept and len(batch) >= SHARED_FAULT:
        raise fault
    return Made([key for key, _ in kept], np.concatenate(rows) if rows else None, letters)


def _known(error: Exception) -> TwinspireError:
    """Say in our words what went wrong: others' messages may hold paths."""
    return (
        error
        if isinstance(error, TwinspireError)
        else EncoderFault(f"the encoder failed: {type(error).__name__}")
    )


class RayRunner:
    """Runs an encoder in Ray's actors. Implements `indexer.runners.Runner`."""

    def __init__(self, folder: Path, *, workers: int = 0, address: str = "") -> None:
        """Take the folder of the encoder's model, which workers must be able to read, as they must the media.

        Args:
            folder: of the model.
            workers: processes; 0 = one for each CPU that Ray knows.
            address: of a Ray cluster; empty = RAY_ADDRESS, else one on this machine for as long as it runs.

        Raises:
            MissingExtra: if Ray is not installed.
        """
        require("ray", "ray", "the runner ray")
        self._folder = folder
        self._workers = workers
        self._address = address or os.environ.get("RAY_ADDRESS", "")

    @contextmanager
    def run(self, work: Work, batches: Iterator[Batch]) -> Iterator[Iterator[Made]]:
        """Make something of each batch, in the order in which workers are done."""
        with ExitStack() as stack:
            stack.enter_context(_ray(self._address, self._workers))
            run = _Run(self._folder, work, batches, self._workers)
            stack.callback(run.stop)
            yield run.results()


def _module() -> Any:
    """Import Ray, of which only some is typed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    return import_module("ray")


@contextmanager
def _ray(address: str, workers: int) -> Iterator[None]:
    """Be connected to Ray: to a cluster, or to one of this machine that ends with the block."""
    ray = _module()
    if ray.is_initialized():
        yield
        return
    how: dict[str, Any] = {"address": address}
    if not address:
        how = {
            "num_cpus": workers or None,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "_node_ip_address": LOOPBACK,
        }
    with redirect_stdout(sys.stderr):  # Ray tells there of workers that died; what is printed is for programs
        ray.init(**how, log_to_driver=False, logging_level=logging.ERROR)
        try:
            yield
        finally:
            ray.shutdown()


class _Run:
    """Shards on their way to workers and back."""

    def __init__(self, folder: Path, work: Work, batches: Iterator[Batch], workers: int) -> None:
        """Start the workers."""
        self._ray = ray = _module()
        self._work = work
        self._batches = (
            batch[start : start + SHARD_SEGMENTS]
            for batch in batches
            for start in range(0, len(batch), SHARD_SEGMENTS)
        )
        self._again: deque[_Shard] = deque()
        self._shards: dict[Any, tuple[_Shard, _Worker]] = {}
        self._lost_in_a_row = 0
        roots = {name: str(path) for name, path in work.roots.items()}
        on_gpu = 1 if chosen_device() == "cuda" else 0
        actor = ray.remote(num_cpus=1, num_gpus=on_gpu, max_restarts=0)(ShardEncoder)
        given = (str(folder.resolve()), work.features, work.fingerprint, roots, chosen_device())
        self._start: Callable[[], _Worker] = lambda: _Worker(actor.remote(*given))
        count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._workers = [self._start() for _ in range(count)]

    def results(self) -> Iterator[Made]:
        """Yield what workers made of the shards.

        Raises:
            TwinspireError: as the encoder raises it.
            WorkerLost: if workers die and nothing gets done.
        """
        self._hand_out()
        while self._shards:
            ready, _ = self._ray.wait(list(self._shards), num_returns=1)
            made = self._received(ready[0])
            self._hand_out()
            if made is not None:
                yield made

    def _hand_out(self) -> None:
        """Give every worker what it has room for.

        A shard that lost its worker gets a fresh one, and for itself, so that it alone is to blame if that
        dies too.
        """
        for at, worker in enumerate(self._workers):
            if self._again:
                if not worker.has:
                    if not worker.is_fresh:
                        self._ray.kill(worker.handle)
                        worker = self._workers[at] = self._start()
                    self._give(worker, self._again.popleft())
                continue
            while len(worker.has) < SHARDS_EACH and not any(
                self._shards[ref][0].losses for ref in worker.has
            ):
                shard = self._next()
                if shard is None:
                    return
                self._give(worker, shard)

    def _give(self, worker: _Worker, shard: _Shard) -> None:
        asked = worker.handle.run.remote(shard.batch)
        worker.has.append(asked)
        worker.is_fresh = False
        self._shards[asked] = (shard, worker)

    def _next(self) -> _Shard | None:
        batch = next(self._batches, None)
        return None if batch is None else _Shard(batch)

    def _received(self, asked: Any) -> Made | None:
        """Take a result; None if its worker died, and the shard must be done again."""
        shard, worker = self._shards.pop(asked)
        worker.has.remove(asked)
        try:
            made: Made | tuple[str, str] = self._ray.get(asked)
        except self._ray.exceptions.RayTaskError as error:
            raise WorkerLost(f"a worker failed: {type(error.cause).__name__}") from error
        except self._ray.exceptions.RayActorError as error:
            if getattr(error, "actor_init_failed", False):
                raise WorkerLost("a worker cannot open the encoder: is its folder there?") from error
            return self._lost(shard, worker)
        self._lost_in_a_row = 0
        if isinstance(made, tuple):
            reason, message = made
            raise EncoderOutOfMemory if reason == EncoderOutOfMemory.reason else EncoderFault(message)
        return made

    def _lost(self, shard: _Shard, worker: _Worker) -> Made | None:
        """Put another worker in the place of one that died, and look for what killed it."""
        if worker in self._workers:
            self._workers[self._workers.index(worker)] = self._start()
        self._lost_in_a_row += 1
        if self._lost_in_a_row > 2 * SHARDS_EACH * len(self._workers) + 64:
            raise WorkerLost("workers died one after the other and nothing got done: see Ray's logs")
        shard.losses += 1
        if shard.losses < MAX_LOSSES:
            self._again.append(shard)
            return None
        if len(shard.batch) > 1:
            half = len(shard.batch) // 2
            self._again += [_Shard(shard.batch[:half], 1), _Shard(shard.batch[half:], 1)]
            return None
        key, content = shard.batch[0]
        told = "workers died while they encoded it"
        return Made(letters=[DeadLetter(content.uri, WorkerLost.reason, told, key, self._work.fingerprint)])

    def stop(self) -> None:
        """End the workers; what they still have is not in the embeddings, and so is done next time."""
        for worker in self._workers:
            self._ray.kill(worker.handle)
