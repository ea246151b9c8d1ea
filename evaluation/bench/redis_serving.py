"""What our server costs beside bare Redis: the same vector searches through it and without it, in turns."""

import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from evaluation.bench.load import Load
from evaluation.bench.processes import ServerProcess
from evaluation.bench.result import BenchTable, PairedRatio, paired_ratio
from retrieval.index import Vectors
from retrieval.planner import SPARE, graph_effort
from retrieval.redis_address import redis_url

COLLECTION = "bench"
EFFORT = 32  # that the index was built with
LIMIT, BATCH, IN_FLIGHT = 10, 64, 4


def compare_servers(
    root: Path, queries: Vectors, seconds: float, rounds: int
) -> tuple[BenchTable, dict[str, float]]:
    """Compare BatchSearch with the same VSIMs sent by a bare client, in turns.

    Args:
        root: a workspace whose collection `bench` is live in Redis.
        queries: unit rows, shape (n, dims).
        seconds: of each spell of load.
        rounds: how many pairs of spells.

    Returns:
        A table, and the ratios by name.
    """
    lone = root.parent / "lone"
    lone.mkdir()
    rows, ratios = [], {}
    for name, workspace in (("workspace", root), ("lone", lone)):
        ratio, ours, bare = _paired(workspace, queries, seconds, rounds)
        ratios[f"batch_to_bare_{name}"] = ratio.median
        shown = "with its workspace" if workspace is root else "without a database"
        rows.append([shown, f"{ours:,.0f}", f"{bare:,.0f}", str(ratio)])
    columns = ["a server", "BatchSearch QPS", "bare VSIM QPS", "ratio"]
    return BenchTable("The server beside a bare, pipelining client", columns, rows), ratios


def _paired(
    workspace: Path, queries: Vectors, seconds: float, rounds: int
) -> tuple[PairedRatio, float, float]:
    ours: list[float] = []
    bare: list[float] = []
    with tempfile.TemporaryDirectory() as folder, ServerProcess(workspace) as server, Load(server) as load:
        file = Path(folder) / "vectors.npy"
        np.save(file, queries)
        load.prepare("batch", collection=COLLECTION, limit=LIMIT, vectors=str(file), batch=BATCH)
        load.run("batch", seconds=1.0, in_flight=IN_FLIGHT)
        for _ in range(rounds):
            result = load.run("batch", seconds=seconds, in_flight=IN_FLIGHT)
            ours.append(result.queries_per_second)
            bare.append(_bare_qps(queries, seconds))
    return paired_ratio(ours, bare), float(np.median(ours)), float(np.median(bare))


def _bare_qps(queries: Vectors, seconds: float) -> float:
    """Send the VSIMs that the server sends from redis-py's own pipelines, as many batches at a time."""
    import redis

    from retrieval.redis_answers import vsim
    from retrieval.redis_catalog import RedisCatalog
    from retrieval.redis_layout import REDIS_FILE, vector_keys
    from retrieval.redis_server import redis_server

    catalog = RedisCatalog(redis_server())
    key = vector_keys(catalog.files(COLLECTION, catalog.alias(COLLECTION).version)[REDIS_FILE]).vectors(0)
    wanted = LIMIT + SPARE  # as the searcher asks
    effort = graph_effort(EFFORT, wanted)
    commands = [vsim(key, query, wanted, effort, False) for query in np.ascontiguousarray(queries, "<f4")]
    done = [0] * IN_FLIGHT
    until = time.perf_counter() + seconds

    def ask(place: int) -> None:
        client = redis.Redis.from_url(redis_url(), protocol=2, socket_timeout=60)
        at = 0
        while time.perf_counter() < until:
            pipeline = client.pipeline(transaction=False)
            for command in (commands[at : at + BATCH] + commands)[:BATCH]:
                pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
            done[place] += len(pipeline.execute())
            at = (at + BATCH) % len(commands)
        client.close()

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(IN_FLIGHT)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - started)
