"""The load generator of `twinspire bench`: a process of its own, so its work never counts as the server's.

Run as `python -m twinspire.bench_load HOST:PORT`. It reads one JSON order a line and answers with a line:

- `{"do": "prepare", "name", "collection", "texts" | "vectors", "limit", "batch", "hybrid", "exact"}`:
  make messages.
- `{"do": "load", "name", "seconds", "in_flight", "rate", "connections"}`: send them; `rate` > 0 sends at that
  many calls a second whatever the answers do (open loop), else `in_flight` calls are always under way (closed
  loop). Calls take turns over the connections.
- `{"do": "ids", "name"}`: send each once and tell the ids that were found.
- `{"do": "upsert", "collection", "items"}`: store items, then wait until the last one is found.

Messages are serialised once and answers not parsed while load runs, so that little of the machine is taken.
"""

import asyncio
import json
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import grpc
import grpc.aio
import numpy as np

from protos.twinspire.v1 import content_pb2, search_pb2
from server.threads import event_loop_runner
from twinspire.bench_http2 import LOST, Caller, Connection, connect, framed
from twinspire.client import Client

_SEARCH = "/twinspire.v1.SearchService/Search"
_BATCH_SEARCH = "/twinspire.v1.SearchService/BatchSearch"
_TIMEOUT_S = 60.0
# A server's workers are given whole connections, as those of many clients are.
_CONNECTIONS = 16
_OPTIONS = (("grpc.max_receive_message_length", 256 << 20),)


@dataclass
class Messages:
    """Requests, ready to be sent."""

    method: str
    requests: list[bytes]
    queries_each: int

    @cached_property
    def framed(self) -> list[bytes]:
        """The requests as gRPC sends them."""
        return [framed(request) for request in self.requests]


@dataclass(slots=True)
class Tally:
    """What was sent and how it went."""

    latencies_ms: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)


def prepare(order: dict[str, Any]) -> Messages:
    """Make the requests of an order."""
    searches = [_search(order, query) for query in _queries(order)]
    batch = int(order.get("batch", 0))
    if not batch:
        return Messages(_SEARCH, [search.SerializeToString() for search in searches], 1)
    searches *= -(-batch // len(searches))  # so that there is at least one full batch
    full = [searches[start : start + batch] for start in range(0, len(searches) - batch + 1, batch)]
    requests = [search_pb2.BatchSearchRequest(requests=part).SerializeToString() for part in full]
    return Messages(_BATCH_SEARCH, requests, batch)


def _queries(order: dict[str, Any]) -> list[search_pb2.Query]:
    if "vectors" in order:
        vectors = np.load(order["vectors"], allow_pickle=False).astype("<f4")
        return [
            search_pb2.Query(vector=content_pb2.DenseVector(f32le=vector.tobytes())) for vector in vectors
        ]
    with open(order["texts"], encoding="utf-8") as file:
        texts: list[str] = json.load(file)
    if order.get("hybrid"):
        return [search_pb2.Query(hybrid=search_pb2.HybridQuery(text=text)) for text in texts]
    return [search_pb2.Query(text=text) for text in texts]


def _search(order: dict[str, Any], query: search_pb2.Query) -> search_pb2.SearchRequest:
    return search_pb2.SearchRequest(
        collection=order["collection"],
        query=query,
        limit=int(order.get("limit", 10)),
        params=search_pb2.SearchParams(exact=True) if order.get("exact") else None,
    )


async def closed_loop(callers: Sequence[Caller], messages: Messages, seconds: float, in_flight: int) -> Tally:
    """Keep so many calls under way for so long."""
    tally = Tally()
    end = time.perf_counter() + seconds
    left = in_flight
    over = asyncio.get_running_loop().create_future()

    def client(first: int) -> None:
        """Call again and again: what is answered sends the next."""
        caller, place = callers[first % len(callers)], first

        def done(failure: str) -> None:
            nonlocal left, place
            if failure:
                tally.errors[failure] += 1
            now = time.perf_counter()
            if now < end and failure != LOST:
                place += in_flight
                caller.call(messages.framed[place % len(messages.framed)], now, tally.latencies_ms, done)
                return
            left -= 1
            if not left and not over.done():
                over.set_result(None)

        caller.call(
            messages.framed[place % len(messages.framed)], time.perf_counter(), tally.latencies_ms, done
        )

    for first in range(in_flight):
        client(first)
    await over
    return tally


async def open_loop(callers: Sequence[Caller], messages: Messages, seconds: float, rate: float) -> Tally:
    """Send calls at random moments, so many a second; each is timed from when it was due."""
    tally = Tally()
    rng = random.Random(0)
    due = started = time.perf_counter()
    place = answered = 0
    over = asyncio.Event()

    def done(failure: str) -> None:
        nonlocal answered
        answered += 1
        if failure:
            tally.errors[failure] += 1
        over.set()

    while due < started + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        message = messages.framed[place % len(messages.framed)]
        callers[place % len(callers)].call(message, due, tally.latencies_ms, done)
        due += rng.expovariate(rate)
        place += 1
    while answered < place:
        over.clear()
        await over.wait()
    return tally


class Generator:
    """Carries out orders against one server."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._connections: list[Connection] = []
        self._messages: dict[str, Messages] = {}

    async def carry_out(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do what an order says and return the answer to it."""
        if order["do"] == "prepare":
            messages = self._messages[order["name"]] = prepare(order)
            return {"requests": len(messages.requests)}
        if order["do"] == "load":
            return await self._load(order)
        if order["do"] == "ids":
            return {"ids": await self._ids(self._messages[order["name"]])}
        if order["do"] == "upsert":
            return await asyncio.to_thread(upsert, self._target, order["collection"], order["items"])
        raise ValueError(f"there is no order {order['do']!r}")

    async def _callers(self, method: str, count: int) -> list[Caller]:
        while len(self._connections) < count:
            self._connections.append(await connect(self._target))
        return [Caller(made, method, self._target, int(_TIMEOUT_S)) for made in self._connections[:count]]

    async def _load(self, order: dict[str, Any]) -> dict[str, Any]:
        messages = self._messages[order["name"]]
        callers = await self._callers(messages.method, int(order.get("connections") or _CONNECTIONS))
        seconds, rate = float(order["seconds"]), float(order.get("rate", 0))
        cpu, started = _cpu_s(), time.perf_counter()
        if rate > 0:
            tally = await open_loop(callers, messages, seconds, rate)
        else:
            tally = await closed_loop(callers, messages, seconds, int(order.get("in_flight", 1)))
        return {
            "seconds": time.perf_counter() - started,
            "cpu_s": _cpu_s() - cpu,
            "queries_each": messages.queries_each,
            "latencies_ms": [round(value, 3) for value in tally.latencies_ms],
            "errors": dict(tally.errors),
        }

    async def _ids(self, messages: Messages) -> list[list[str]]:
        found: list[list[str]] = []
        async with grpc.aio.insecure_channel(self._target, options=_OPTIONS) as channel:
            call: Any = channel.unary_unary(messages.method)  # bytes go in and out as they are
            for request in messages.requests:
                found += _found_ids(messages, await call(request, timeout=_TIMEOUT_S))
        return found

    async def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.close()


def _found_ids(messages: Messages, answer: bytes) -> list[list[str]]:
    if messages.method == _SEARCH:
        return [[hit.id for hit in search_pb2.SearchResponse.FromString(answer).hits]]
    results = search_pb2.BatchSearchResponse.FromString(answer).results
    return [[hit.id for hit in result.response.hits] for result in results]


def upsert(target: str, collection: str, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Store items and wait until a search for the last one's text finds it."""
    with Client(target, timeout_s=_TIMEOUT_S) as client:
        started = time.perf_counter()
        report = client.upsert_many(collection, items)
        stored_s = time.perf_counter() - started
        last = items[-1]
        # Items of the same words tie, so that it may not be among the first.
        while last["id"] not in {hit.id for hit in client.search(collection, last["text"], limit=1000).hits}:
            if time.perf_counter() - started > _TIMEOUT_S:
                raise TimeoutError("an item that was acknowledged is not found")
    return {
        "stored_s": stored_s,
        "found_s": time.perf_counter() - started,
        "inserted": report.inserted,
    }


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _serve_orders(target: str) -> None:
    generator = Generator(target)
    try:
        while line := await asyncio.to_thread(sys.stdin.readline):
            answer = await generator.carry_out(json.loads(line))
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
    finally:
        await generator.close()


def main() -> None:
    """Carry out the orders on standard input until it ends."""
    event_loop_runner()(_serve_orders(sys.argv[1]))


if __name__ == "__main__":
    main()
