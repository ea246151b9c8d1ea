"""SearchService: translates, and hands on to the pipeline of the version that is to answer."""

import asyncio
import time
from collections.abc import Sequence

from google.rpc import status_pb2

from protos.twinspire.v1 import search_pb2 as pb
from retrieval.errors import InvalidInput, TwinspireError
from server.calls import Context, unexpected
from server.live import Live
from server.metrics import Metrics
from server.served import Served
from server.status import status_of
from server.translation.answers import batch_to
from server.translation.queries import Plan, plan_from

MAX_BATCH_REQUESTS = 256


class SearchService:
    """Finds the items nearest to queries."""

    def __init__(self, live: Live, metrics: Metrics) -> None:
        self._live = live
        self._metrics = metrics

    async def search(self, request: pb.SearchRequest, context: Context) -> bytes:
        """Answer Search."""
        deadline = deadline_of(context)
        plan = plan_from(request)
        served = await self._live.find(plan.collection, plan.index_version)
        served.answerer.check(plan)
        with served:
            (outcome,) = await served.pipeline.answer((plan,), deadline)
        if isinstance(outcome, TwinspireError):
            raise outcome
        return outcome

    async def batch_search(self, request: pb.BatchSearchRequest, context: Context) -> bytes:
        """Answer BatchSearch: each request has its own outcome."""
        count = len(request.requests)
        if not 1 <= count <= MAX_BATCH_REQUESTS:
            raise InvalidInput(f"requests: expected 1 to {MAX_BATCH_REQUESTS}, got {count}", field="requests")
        deadline = deadline_of(context)
        outcomes: list[bytes | status_pb2.Status] = [b""] * count
        groups: dict[Served, list[tuple[int, Plan]]] = {}
        for at, single in enumerate(request.requests):
            try:
                plan = plan_from(single)
                served = await self._live.find(plan.collection, plan.index_version)
                served.answerer.check(plan)
                groups.setdefault(served, []).append((at, plan))
            except Exception as error:
                outcomes[at] = self._failed(error)
        answered = await asyncio.gather(
            *(self._answer(served, group, deadline) for served, group in groups.items())
        )
        for group, results in zip(groups.values(), answered, strict=True):
            for (at, _), outcome in zip(group, results, strict=True):
                outcomes[at] = self._failed(outcome) if isinstance(outcome, TwinspireError) else outcome
        return batch_to(outcomes)

    async def _answer(
        self, served: Served, group: list[tuple[int, Plan]], deadline: float | None
    ) -> Sequence[bytes | TwinspireError]:
        with served:
            return await served.pipeline.answer([plan for _, plan in group], deadline)

    def _failed(self, error: Exception) -> status_pb2.Status:
        known = error if isinstance(error, TwinspireError) else unexpected("BatchSearch", error)
        self._metrics.errors.labels(known.reason).inc()
        return status_of(known)


def deadline_of(context: Context) -> float | None:
    """Return a call's deadline on `time.perf_counter`; None if it has none."""
    remaining = context.time_remaining()
    return None if remaining is None else time.perf_counter() + remaining
