"""What must hold while a server is under mixed load, and what was seen that does not."""

import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
from google.rpc import error_details_pb2
from grpc import StatusCode

from tests.server.running import failure_of

SHOWN = 20  # violations that are written out; the others are counted


@dataclass
class Checker:
    """Counts what is done, and notes what must not be."""

    done: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)  # seconds since the start, bytes
    started: float = 0.0  # monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str) -> None:
        """Count what went well."""
        with self._lock:
            self.done[what] += 1

    def violated(self, what: str) -> None:
        """Note what must not happen."""
        with self._lock:
            self.violations.append(f"{time.monotonic() - self.started:.1f} s: {what}")

    def require(self, holds: bool, what: str) -> None:
        """Note what does not hold."""
        if not holds:
            self.violated(what)

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Do something; it may be refused for being too much, with a time to retry, and for nothing else."""
        try:
            yield
            self.count(what)
        except grpc.RpcError as error:
            failure = failure_of(error)
            if failure.code == StatusCode.RESOURCE_EXHAUSTED and failure.reason == "OVERLOADED":
                self.count(f"{what} refused")
                wait = failure.detail(error_details_pb2.RetryInfo).retry_delay.ToMilliseconds()
                self.require(wait > 0, f"{what}: refused without a time to retry")
                time.sleep(wait / 1e3)
            else:
                self.violated(f"{what}: {failure.code.name} {failure.reason} {failure.message[:200]}")
        except Exception as error:
            self.violated(
                f"{what}: {error!r} at line {error.__traceback__ and error.__traceback__.tb_lineno}"
            )

    def growth(self) -> int:
        """Tell by how many bytes the memory grew, from the second fifth of the time to the last."""
        end = self.memory[-1][0]
        early = [size for at, size in self.memory if 0.2 * end <= at < 0.4 * end]
        late = [size for at, size in self.memory if at >= 0.8 * end]
        return int(statistics.median(late) - statistics.median(early))
