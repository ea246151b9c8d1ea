"""The load generator of `twinspire bench`: a process of its own, so its work never counts as the server's.

Run as `python -m twinspire.bench_load HOST:PORT`. It reads one JSON order a line and answers with a line:

- `{"do": "prepare", "name", "collection", "texts" | "vectors", "limit", "batch", "hybrid", "exact"}`:
  make messages.
- `{"do": "load", "name", "seconds", "in_flight", "rate"}`: send them; `rate` > 0 sends at that many calls a
  second whatever the answers do (open loop), else `in_flight` calls are always under way (closed loop).
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
from typing import Any

import grpc
import grpc.aio
import numpy as np

from protos.twinspire.v1 import content_pb2, search_pb2
from twinspire.client import Client

_SEARCH = "/twinspire.v1.SearchService/Search"
_BATCH_SEARCH = "/twinspire.v1.SearchService/BatchSearch"
_TIMEOUT_S = 60.0
# A server's workers are given whole connections, as those of many clients are.
_CONNECTIONS = 16
_OPTIONS = (("grpc.max_receive_message_length", 256 << 20), ("grpc.use_local_subchannel_pool", 1))


@dataclass(slots=True)
class Messages:
    """Requests, ready to be sent."""

    method: str
    requests: list[bytes]
    queries_each: int


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


async def closed_loop(calls: Sequence[Any], messages: Messages, seconds: float, in_flight: int) -> Tally:
    """Keep so many calls under way for so long."""
    tally = Tally()
    end = time.perf_counter() + seconds

    async def client(first: int) -> None:
        place = first
        call = calls[first % len(calls)]
        while (started := time.perf_counter()) < end:
            await _send(call, messages.requests[place % len(messages.requests)], started, tally)
            place += in_flight

    await asyncio.gather(*(client(first) for first in range(in_flight)))
    return tally


async def open_loop(calls: Sequence[Any], messages: Messages, seconds: float, rate: float) -> Tally:
    """Send calls at random moments, so many a second; each is timed from when it was due."""
    tally = Tally()
    rng = random.Random(0)
    running = set()
    due = started = time.perf_counter()
    place = 0
    while due < started + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        request = messages.requests[place % len(messages.requests)]
        task = asyncio.create_task(_send(calls[place % len(calls)], request, due, tally))
        running.add(task)
        task.add_done_callback(running.discard)
        due += rng.expovariate(rate)
        place += 1
    await asyncio.gather(*running)
    return tally


async def _send(call: Any, request: bytes, since: float, tally: Tally) -> None:
    try:
        await call(request, timeout=_TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        tally.errors[error.code().name] += 1
    else:
        tally.latencies_ms.append((time.perf_counter() - since) * 1000)


class Generator:
    """Carries out orders against one server."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._channels = [grpc.aio.insecure_channel(target, options=_OPTIONS) for _ in range(_CONNECTIONS)]
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

    def _calls(self, messages: Messages) -> list[Any]:
        # Without a serialiser, bytes go in and out as they are.
        return [channel.unary_unary(messages.method) for channel in self._channels]

    async def _load(self, order: dict[str, Any]) -> dict[str, Any]:
        messages = self._messages[order["name"]]
        calls = self._calls(messages)
        seconds, rate = float(order["seconds"]), float(order.get("rate", 0))
        cpu, started = _cpu_s(), time.perf_counter()
        if rate > 0:
            tally = await open_loop(calls, messages, seconds, rate)
        else:
            tally = await closed_loop(calls, messages, seconds, int(order.get("in_flight", 1)))
        return {
            "seconds": time.perf_counter() - started,
            "cpu_s": _cpu_s() - cpu,
            "queries_each": messages.queries_each,
            "latencies_ms": [round(value, 3) for value in tally.latencies_ms],
            "errors": dict(tally.errors),
        }

    async def _ids(self, messages: Messages) -> list[list[str]]:
        call = self._calls(messages)[0]
        found: list[list[str]] = []
        for request in messages.requests:
            answer = await call(request, timeout=_TIMEOUT_S)
            found += _found_ids(messages, answer)
        return found

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            await channel.close()


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
    asyncio.run(_serve_orders(sys.argv[1]))


if __name__ == "__main__":
    main()
