"""The pipeline of one loaded version: it answers what waits together, in threads of its own.

Batching has no timer. A thread takes its share of what waits and answers it; meanwhile the next batch
gathers. A single search at an idle server goes out at once, and under load batches grow by themselves.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from encoders.media.pool import usual_children
from retrieval.deadlines import work_until
from retrieval.errors import DeadlineExceeded, Overloaded
from server.alike_answering import Block, Outcome
from server.answering import Answerer
from server.failures import unexpected
from server.jobs import Delivery, Job, Promise, Room, Stage, deliver_soon, weight
from server.metrics import Metrics
from server.prepared import PreparedEncoder
from server.task import Task
from server.translation.answers import responses_in
from server.translation.queries import Plan

# A slower encoder gets a thread and a queue of its own, so that vectors do not wait behind texts.
HEAVY_ENCODE_S = 0.001
# Texts that it takes together: each batch is waited for by the next.
HEAVY_BATCH = 64
# A smaller part of a batch is not worth a thread of its own.
MIN_PART = 8
# How long the files of one call may take to be decoded.
MAX_DECODE_S = 10.0
# No file is decoded while more than this waits to be encoded.
MAX_DECODED_BYTES = 256 << 20
# What an overloaded caller is told to wait.
RETRY_AFTER_S = 0.1


class Pipeline:
    """Admits, batches and answers the searches of one loaded version."""

    def __init__(
        self,
        answerer: Answerer,
        metrics: Metrics,
        *,
        max_batch: int,
        max_queued: int,
        search_threads: int,
        encode_s: float,
    ) -> None:
        """Start the threads.

        Args:
            answerer: does the work.
            metrics: counts it.
            max_batch: searches that are alike and answered together; of others a fourth as many.
            max_queued: searches waiting or being answered; those of texts for a heavy encoder get half.
            search_threads: over how many threads a large batch is spread.
            encode_s: what encoding one query takes, in seconds.
        """
        self._answerer = answerer
        self._encoding = answerer.encoding
        self._metrics = metrics
        self._max_queued = max_queued
        self.queued = 0  # searches waiting or being answered
        self._queued_texts = 0
        # Single searches keep to one thread: two would halve the batches and fight with the event loop.
        # Parts of large batches go to helpers as well.
        self._helpers = search_threads - 1
        self._search = Stage("search", self._answer_batch, max_batch=max_batch, threads=1, size=weight)
        self._help = Stage(
            "help", self._answer_batch, max_batch=max_batch, threads=self._helpers, size=weight
        )
        heavy = encode_s > HEAVY_ENCODE_S
        self._encode = (
            Stage("encode", self._encode_batch, max_batch=HEAVY_BATCH, threads=1) if heavy else None
        )
        # Files take a thread each while other processes decode them: texts do not wait for them.
        takes_files = heavy and isinstance(answerer.encoder, PreparedEncoder)
        self._decode = (
            Stage("decode", self._decode_batch, max_batch=1, threads=usual_children())
            if takes_files
            else None
        )
        self._room = Room(MAX_DECODED_BYTES)
        stages = ("encode", "search", "fetch")
        self._seconds = {stage: metrics.stage.labels(stage) for stage in stages}

    async def answer(self, plans: Sequence[Plan], deadline: float | None) -> list[Outcome]:
        """Answer searches that `check` has let through.

        Args:
            plans: of one call.
            deadline: of the call, on `time.perf_counter`; None = none.

        Returns:
            A serialised SearchResponse or an error for each.

        Raises:
            Overloaded: if too many searches wait.
            DeadlineExceeded: if the deadline passed before the work began.
        """
        started = time.perf_counter()
        tasks = [Task(plan, started) for plan in plans]
        texts = self._encode is not None and any(task.needs_encoder for task in tasks)
        self._admit(len(tasks), texts)
        loop = asyncio.get_running_loop()
        jobs = [Job(tasks[part], loop, deadline) for part in self._parts(len(tasks))]
        try:
            if self._decode is not None and any(task.needs_decoder for task in tasks):
                for job in jobs:
                    self._decode.put(job)
            elif texts and self._encode is not None:
                for job in jobs:
                    self._encode.put(job)
            else:
                self._put(jobs)
            answered: list[list[Outcome]] = await self._outcomes(jobs)
            return answered[0] if len(jobs) == 1 else [each for outcomes in answered for each in outcomes]
        finally:
            self._release(len(tasks), texts)

    async def answer_block(self, block: Block, deadline: float | None) -> bytes | list[Outcome]:
        """Answer searches that are alike.

        Args:
            block: of one call.
            deadline: of the call, on `time.perf_counter`; None = none.

        Returns:
            The serialised response; where a search failed, the outcome of each.

        Raises:
            Overloaded: if too many searches wait.
            DeadlineExceeded: if the deadline passed before the work began.
        """
        self._admit(len(block), texts=False)
        loop = asyncio.get_running_loop()
        parts = self._parts(len(block))
        cut = [block] if len(parts) == 1 else [replace(block, vectors=block.vectors[part]) for part in parts]
        jobs = [Job(piece, loop, deadline) for piece in cut]
        try:
            self._put(jobs)
            answered: list[bytes | list[Outcome]] = await self._outcomes(jobs)
            return answered[0] if len(answered) == 1 else joined(answered)
        finally:
            self._release(len(block), texts=False)

    def takes_whole(self, block: Block) -> bool:
        """Tell whether there is room for a block, and it is none to share among threads."""
        return self.queued + len(block) <= self._max_queued and len(self._parts(len(block))) == 1

    def begin(self, block: Block, deadline: float | None, then: Callable[[Any], None]) -> Job:
        """Begin to answer searches that are alike, and return at once. Call in the event loop.

        Args:
            block: of one call, which `takes_whole` lets through.
            deadline: of the call, on `time.perf_counter`; None = none.
            then: is called in the event loop, with what `answer_block` returns or raises; with CancelledError
                if it was dropped.

        Returns:
            What `drop` takes.
        """
        count = len(block)
        self._admit(count, texts=False)

        def finish(outcome: Any) -> None:
            self._release(count, texts=False)
            then(outcome)

        job = Job(block, asyncio.get_running_loop(), deadline, Promise(finish))
        self._search.put(job)
        return job

    def drop(self, job: Job) -> None:
        """Forget about a job that was begun: nobody waits for it any more."""
        if not job.future.done():
            self._metrics.dropped.labels("cancelled").inc(len(job.work))
            job.work = []
            job.future.set_exception(asyncio.CancelledError())

    def _put(self, jobs: list[Job]) -> None:
        self._search.put(jobs[0])
        for job in jobs[1:]:
            self._help.put(job)

    async def _outcomes(self, jobs: list[Job]) -> list[Any]:
        """Wait for what each job comes to."""
        try:
            if len(jobs) == 1:
                return [await jobs[0].awaited]
            return await asyncio.gather(*(job.awaited for job in jobs))
        except asyncio.CancelledError:
            for job in jobs:
                self._metrics.dropped.labels("cancelled").inc(len(job.work))
                job.work = []  # what still waits is dropped by its stage
            raise

    def _parts(self, count: int) -> list[slice]:
        """Share a large batch out among the search threads."""
        parts = max(1, min(self._helpers + 1, count // MIN_PART))
        size = -(-count // parts)
        return [slice(start, start + size) for start in range(0, count, size)]

    def _admit(self, count: int, texts: bool) -> None:
        full = self.queued + count > self._max_queued
        # Texts wait for the heavy encoder; they leave half of the room to vectors.
        full = full or (texts and self._queued_texts + count > self._max_queued // 2)
        if full and self.queued:
            raise Overloaded(
                f"{self.queued} searches are waiting, at most {self._max_queued} may: retry later",
                retry_after_s=RETRY_AFTER_S,
            )
        self.queued += count
        self._queued_texts += count * texts

    def _release(self, count: int, texts: bool) -> None:
        self.queued -= count
        self._queued_texts -= count * texts

    def stop(self) -> None:
        """Answer what waits, then end the threads."""
        if self._decode is not None:
            self._decode.stop()
        if self._encode is not None:
            self._encode.stop()
        self._search.stop()
        self._help.stop()

    def _decode_batch(self, jobs: list[Job]) -> None:
        self._room.wait()
        for job in self._living(jobs):
            latest = time.perf_counter() + MAX_DECODE_S
            with work_until(latest if job.deadline is None else min(job.deadline, latest)):
                job.decoded_bytes = self._encoding.decode(job.work) if isinstance(job.work, list) else 0
            self._room.fill(job.decoded_bytes)
            assert self._encode is not None
            self._encode.put(job)

    def _encode_batch(self, jobs: list[Job]) -> None:
        living = self._living(jobs)
        self._encoding.encode([task for job in living if isinstance(job.work, list) for task in job.work])
        self._room.fill(-sum(job.decoded_bytes for job in jobs))
        for job in living:
            self._search.put(job)

    def _answer_batch(self, jobs: list[Job]) -> None:
        taken = [(job, job.work) for job in self._living(jobs)]  # a cancelled job loses its work
        tasks = [task for _, work in taken if isinstance(work, list) for task in work]
        blocks = [work for _, work in taken if isinstance(work, Block)]
        if not tasks and not blocks:
            return
        outcomes: list[Outcome]
        answers: list[bytes | list[Outcome]]
        try:
            with work_until(_last_deadline([job for job, _ in taken])):
                outcomes, answers = self._answerer.answer_all(tasks, blocks)
        except BaseException as error:
            failure = unexpected("answer", error)
            outcomes, answers = [failure] * len(tasks), [[failure] * len(block) for block in blocks]
        deliveries: list[Delivery] = []
        next_outcome, next_answer = iter(outcomes), iter(answers)
        for job, work in taken:
            result = next(next_answer) if isinstance(work, Block) else list(islice(next_outcome, len(work)))
            deliveries.append((job.future, result))
        deliver_soon(taken[0][0].loop, deliveries)
        self._count([*tasks, *blocks], len(tasks) + sum(map(len, blocks)))

    def _count(self, works: Sequence[Task | Block], queries: int) -> None:
        self._metrics.batch.observe(queries)
        for stage, counter in self._seconds.items():
            counter.inc(max(getattr(work, f"{stage}_ms") for work in works) / 1e3)

    def _living(self, jobs: list[Job]) -> list[Job]:
        """Leave out what was cancelled, and what nobody waits for any more."""
        now = time.perf_counter()
        living = []
        for job in jobs:
            if job.future.done():
                continue
            if job.deadline is not None and now >= job.deadline:
                self._metrics.dropped.labels("deadline").inc(len(job.work))
                error = DeadlineExceeded("the deadline passed while the search waited")
                deliver_soon(job.loop, [(job.future, error)])
                continue
            for work in [job.work] if isinstance(job.work, Block) else job.work:
                work.queue_ms = work.queue_ms or (now - work.started) * 1e3
            living.append(job)
        return living


def joined(answers: Sequence[bytes | list[Outcome]]) -> bytes | list[Outcome]:
    """Put the parts of a BatchSearchResponse together: a repeated field, so that bytes can be joined."""
    whole = [answer for answer in answers if isinstance(answer, bytes)]
    if len(whole) == len(answers):
        return b"".join(whole)
    outcomes: list[Outcome] = []
    for answer in answers:
        outcomes += responses_in(answer) if isinstance(answer, bytes) else answer
    return outcomes


def _last_deadline(jobs: Sequence[Job]) -> float | None:
    """Return when nobody waits for these any more; None if somebody waits for ever."""
    deadlines = [job.deadline for job in jobs if job.deadline is not None]
    return max(deadlines, default=None) if len(deadlines) == len(jobs) else None
