"""Decoding processes that answer questions about files: as many at a time as there are processors."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from encoders.media.child_process import ChildDied, ChildGone, ChildProcess
from encoders.media.limits import MediaLimits
from retrieval.deadlines import time_left_s, work_until
from retrieval.errors import DeadlineExceeded, MediaUnreadable, TwinspireError

MAX_CHILDREN = 16
# A process that has answered so often gives way to a new one: no leak of a library adds up.
FILES_PER_CHILD = 2_000

Header: TypeAlias = Mapping[str, Any]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Question(Generic[Result]):
    """What a process is asked about a file."""

    request: Mapping[str, Any]
    media: bytes  # of the file; none if the request tells its path
    max_bytes: int  # of the answer
    read: Callable[[Header, NDArray[np.uint8]], Result]  # makes something of the answer, or refuses it


@dataclass(slots=True)
class _Asked(Generic[Result]):
    """A question, and what came of it."""

    question: Question[Result]
    outcome: Result | TwinspireError | None = None


class _Line(Generic[Result]):
    """Questions that several threads work at."""

    def __init__(self, questions: Sequence[Question[Result]]) -> None:
        self.all = [_Asked(question) for question in questions]
        self.has_bytes = any(question.media for question in questions)  # they cannot be told ahead
        self._waiting = deque(self.all)

    def next(self) -> _Asked[Result] | None:
        """Take the next question; None if nothing is left."""
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def put_back(self, asked: _Asked[Result]) -> None:
        """Let another process work at a question."""
        self._waiting.appendleft(asked)


class ChildPool:
    """Processes that start when they are first needed. Threads may share it."""

    def __init__(self, limits: MediaLimits, max_children: int | None = None) -> None:
        """Make a pool; nothing is started yet.

        Args:
            limits: caps on files and processes.
            max_children: how many processes work at a time; None = one for each processor.
        """
        self._limits = limits
        self._max_children = max_children or usual_children()
        self._turns = threading.BoundedSemaphore(self._max_children)  # whoever holds one may ask a process
        self._threads = ThreadPoolExecutor(self._max_children, "decode")
        self._idle: list[ChildProcess] = []
        self._all: set[ChildProcess] = set()
        self._lock = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """End the processes; what they work at is given up."""
        with self._lock:
            self._closed = True
            children, self._idle = list(self._all), []
        for child in children:
            child.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for child in children:
            child.end()

    def ask(self, questions: Sequence[Question[Result]]) -> list[Result | TwinspireError]:
        """Ask until the deadline of the thread's work.

        A process that ends while it works at a file costs that file alone.

        Returns:
            In the order of the questions, what was made of the answers, or why there is none.
        """
        line = _Line(questions)
        workers = min(self._max_children, len(line.all))
        if workers == 1:  # no thread is needed that would only be waited for
            self._work(line)
        else:
            left_s = time_left_s()
            until = None if left_s is None else time.perf_counter() + left_s
            list(self._threads.map(self._work_until, [until] * workers, [line] * workers))
        return [cast("Result | TwinspireError", asked.outcome) for asked in line.all]

    def _work_until(self, until: float | None, line: _Line[Result]) -> None:
        with work_until(until):
            self._work(line)

    def _work(self, line: _Line[Result]) -> None:
        while (asked := line.next()) is not None:
            try:
                with self._turn(), self._child() as child:
                    self._talk(child, asked, line)
            except TwinspireError as error:  # there was no turn, or no process
                asked.outcome = error

    def _talk(self, child: ChildProcess, asked: _Asked[Result], line: _Line[Result]) -> None:
        """Ask one process for one after another. It is told the next while it works at one."""
        try:
            child.tell(asked.question.request, asked.question.media, time_left_s())
        except ChildGone:
            return line.put_back(asked)
        except ChildDied as death:
            asked.outcome = self._blame(death)
            return None
        while True:
            following = None if line.has_bytes or child.answered + 1 >= FILES_PER_CHILD else line.next()
            told = following is not None and child.tell_ahead(following.question.request)
            try:
                asked.outcome = asked.question.read(*child.answer(asked.question.max_bytes, time_left_s()))
            except ChildDied as death:
                asked.outcome, told = self._blame(death), False
            except TwinspireError as error:
                asked.outcome = error
            if following is None:
                return None
            if not told or child.leaving:
                return line.put_back(following)
            asked = following

    def _blame(self, death: ChildDied) -> TwinspireError:
        if self._closed:
            raise RuntimeError("the decoder was closed") from None  # the file is not to blame
        if time_left_s() == 0:
            return DeadlineExceeded("media: decoding took longer than the time that was left")
        return MediaUnreadable(f"media: {death}")

    @contextmanager
    def _turn(self) -> Iterator[None]:
        left_s = time_left_s()
        if left_s == 0 or not self._turns.acquire(timeout=left_s):
            raise DeadlineExceeded("media: no time was left to decode it")
        try:
            yield
        finally:
            self._turns.release()

    @contextmanager
    def _child(self) -> Iterator[ChildProcess]:
        """Take an idle process, or start one: as many ask at a time as there are turns."""
        child = self._take()
        try:
            yield child
        finally:
            self._give_back(child)

    def _take(self) -> ChildProcess:
        while True:
            with self._lock:
                if self._closed:
                    raise RuntimeError("the decoder is closed")
                child = self._idle.pop() if self._idle else None
            if child is None:
                break
            if child.alive:
                return child
            self._discard(child)
        child = ChildProcess(self._limits)
        with self._lock:
            self._all.add(child)
        return child

    def _give_back(self, child: ChildProcess) -> None:
        with self._lock:
            worn = child.leaving or child.answered >= FILES_PER_CHILD
            if child.alive and not worn and not self._closed:
                self._idle.append(child)
                return
        self._discard(child)

    def _discard(self, child: ChildProcess) -> None:
        child.end()
        with self._lock:
            self._all.discard(child)


def usual_children() -> int:
    """Return how many processes a pool has that is not told: one for each processor."""
    return min(MAX_CHILDREN, _processors())


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
