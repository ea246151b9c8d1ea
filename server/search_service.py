"""SearchService: translates, and hands on to the pipeline of the version that is to answer."""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from google.rpc import status_pb2
from numpy.typing import NDArray

from protos.twinspire.v1 import search_pb2 as pb
from retrieval.errors import DeadlineExceeded, InvalidInput, Overloaded, TwinspireError
from server.alike_answering import Block, Outcome
from server.calls import Context
from server.failures import known
from server.incoming import Incoming
from server.live import Live
from server.metrics import Metrics
from server.served import Served
from server.status import status_of
from server.translation.answers import batch_to
from server.translation.queries import Plan, plan_from
from server.translation.shapes import Shape, Shapes

MAX_BATCH_REQUESTS = 256
_FOR_EVER_S = 1e9


class SearchService:
    """Finds the items nearest to queries."""

    def __init__(self, live: Live, metrics: Metrics) -> None:
        self._live = live
        self._metrics = metrics
        self._shapes = Shapes()

    async def search(self, incoming: Incoming[pb.SearchRequest], context: Context) -> bytes:
        """Answer Search."""
        deadline = deadline_of(context)
        told = self._shapes.read(incoming.data)
        if told is not None:
            outcomes = await self._answer_alike(*told, deadline, enclosed=False)
            outcome = outcomes if isinstance(outcomes, bytes) else outcomes[0]
        else:
            request = incoming.parse()
            plan = plan_from(request)
            served = await self._live.find(plan.collection, plan.index_version)
            served.answerer.check(plan)
            if not request.experiment_key:
                self._shapes.learn(incoming.data, plan)
            with served:
                (outcome,) = await served.pipeline.answer((plan,), deadline)
        if isinstance(outcome, TwinspireError):
            raise outcome
        return outcome

    async def batch_search(self, incoming: Incoming[pb.BatchSearchRequest], context: Context) -> bytes:
        """Answer BatchSearch: each request has its own outcome."""
        deadline = deadline_of(context)
        told = self._shapes.read_batch(incoming.data)
        if told is not None and len(told[1]) <= MAX_BATCH_REQUESTS:
            incoming.charge(len(told[1]))
            try:
                answer = await self._answer_alike(*told, deadline, enclosed=True)
            except (Overloaded, DeadlineExceeded):
                raise
            except Exception as error:  # such as a version that is gone: each search is told
                answer = [known("BatchSearch", error)] * len(told[1])
            return answer if isinstance(answer, bytes) else batch_to([*map(self._told, answer)])
        return await self._answer_each(incoming.parse(), incoming.data, deadline)

    async def _answer_alike(
        self, shape: Shape, vectors: NDArray[np.float32], deadline: float | None, *, enclosed: bool
    ) -> bytes | list[Outcome]:
        """Answer searches that differ only in their vector."""
        plan = shape.plan
        assert plan.alike is not None
        served = await self._live.find(plan.collection, plan.index_version)
        served.answerer.check(plan)
        limit, params = plan.alike
        block = Block(limit, params, vectors, time.perf_counter(), enclosed)
        with served:
            return await served.pipeline.answer_block(block, deadline)

    def begin(
        self,
        data: bytes,
        deadline: float | None,
        admit: Callable[[int], None],
        then: Callable[[bytes | BaseException], None],
        *,
        enclosed: bool,
    ) -> Callable[[], None] | None:
        """Begin to answer a call that needs no closer look; all others are for `search` and `batch_search`.

        Args:
            data: a SearchRequest, or a BatchSearchRequest.
            deadline: on `time.perf_counter`; None = none.
            admit: charges for so many searches, and raises if they may not be made.
            then: is called with the response, or with why there is none.
            enclosed: whether it is a BatchSearchRequest.

        Returns:
            What to call if the caller goes away; None if nothing was begun.
        """
        told = self._shapes.read_batch(data) if enclosed else self._shapes.read(data)
        if told is None or len(told[1]) > MAX_BATCH_REQUESTS:
            return None
        plan, vectors = told[0].plan, told[1]
        served = self._live.served.get(plan.collection)
        if served is None or plan.index_version not in ("", served.version) or plan.alike is None:
            return None

        def finish(outcome: Any) -> None:
            served.leave()
            if isinstance(outcome, list):
                outcome = batch_to([*map(self._told, outcome)]) if enclosed else outcome[0]
            then(outcome)

        limit, params = plan.alike
        block = Block(limit, params, vectors, time.perf_counter(), enclosed)
        if not served.pipeline.takes_whole(block):
            return None
        try:
            served.answerer.check(plan)
            admit(len(block))
        except TwinspireError:
            return None
        served.enter()
        return partial(served.pipeline.drop, served.pipeline.begin(block, deadline, finish))

    async def _answer_each(self, batch: pb.BatchSearchRequest, data: bytes, deadline: float | None) -> bytes:
        """Answer searches of all kinds."""
        count = len(batch.requests)
        if not 1 <= count <= MAX_BATCH_REQUESTS:
            raise InvalidInput(f"requests: expected 1 to {MAX_BATCH_REQUESTS}, got {count}", field="requests")
        outcomes: list[bytes | status_pb2.Status] = [b""] * count
        groups: dict[Served, list[tuple[int, Plan]]] = {}
        for at, single in enumerate(batch.requests):
            try:
                plan = plan_from(single)
                served = await self._live.find(plan.collection, plan.index_version)
                served.answerer.check(plan)
                if at == 0 and not single.experiment_key:
                    self._shapes.learn_first(data, plan)
                groups.setdefault(served, []).append((at, plan))
            except Exception as error:
                outcomes[at] = self._failed(error)
        answered = await asyncio.gather(
            *(self._answer(served, group, deadline) for served, group in groups.items())
        )
        for group, results in zip(groups.values(), answered, strict=True):
            for (at, _), outcome in zip(group, results, strict=True):
                outcomes[at] = self._told(outcome)
        return batch_to(outcomes)

    async def _answer(
        self, served: Served, group: list[tuple[int, Plan]], deadline: float | None
    ) -> Sequence[Outcome]:
        with served:
            return await served.pipeline.answer([plan for _, plan in group], deadline)

    def _told(self, outcome: Outcome) -> bytes | status_pb2.Status:
        return outcome if isinstance(outcome, bytes) else self._failed(outcome)

    def _failed(self, error: Exception) -> status_pb2.Status:
        failure = known("BatchSearch", error)
        self._metrics.errors.labels(failure.reason).inc()
        return status_of(failure)


def deadline_of(context: Context) -> float | None:
    """Return a call's deadline on `time.perf_counter`; None if it has none."""
    remaining = context.time_remaining()
    # Without a deadline, grpcio says None and pygrpc-native more seconds than anybody waits.
    return None if remaining is None or remaining > _FOR_EVER_S else time.perf_counter() + remaining
