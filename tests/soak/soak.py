"""The soak: mixed load for some time, then the books are balanced, once before and once after a kill -9.

`python -m tests.soak.soak [SECONDS] [SWAPS]`, or `make soak` for ten minutes.
"""

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from protos.twinspire.v1 import items_pb2
from retrieval.publishing import promote
from tests.faults.served import TIMEOUT_S, Served, serve
from tests.server.workspaces import COLLECTION, build_version, make_workspace, write_encoder
from tests.soak.checker import SHOWN, Checker
from tests.soak.load import Load

SECONDS, SWAPS = 600.0, 50
QUEUE = 128  # searches: small, so that a burst is too much
MAY_GROW = 24 << 20  # bytes: what allocators keep


def soak(root: Path, seconds: float, swaps: int) -> Checker:
    """Put a server under load; return what was seen."""
    with make_workspace(root) as ws:
        write_encoder(ws, version=2)
        versions = build_version(ws, "compass@2"), build_version(ws, "compass@1")
        promote(ws, COLLECTION, versions[0])
    checker = Checker()
    with serve(root, max_queued_searches=QUEUE, watch_interval_s=0.1) as server:
        process = psutil.Process(server.process.pid)
        load = Load(server, checker)
        load.start(seconds, swaps, versions)
        time.sleep(seconds)
        load.end()
        _balance(server, load, "at the end")
        for gauge in ("twinspire_requests_in_flight", "twinspire_searches_queued"):
            checker.require(server.metric(gauge) == 0, f"{gauge} is {server.metric(gauge)} at rest")
        checker.require(server.metric('twinspire_errors_total{reason="INTERNAL"}') == 0, "an internal error")
        checker.require(checker.done["swap"] == swaps, f"{checker.done['swap']} of {swaps} swaps")
        checker.require(process.num_threads() < 64, f"{process.num_threads()} threads at rest")
        checker.require(process.num_fds() < 256, f"{process.num_fds()} files at rest")
        checker.require(checker.growth() < MAY_GROW, f"memory grew by {checker.growth() >> 20} MB")
        checker.require(
            "unexpected" not in server.log.read_text(errors="replace"), "the log tells of an unexpected error"
        )
        os.kill(server.process.pid, signal.SIGKILL)
    with serve(root) as server:
        load.server = server
        _balance(server, load, "after kill -9")
    return checker


def _balance(server: Served, load: Load, when: str) -> None:
    """Compare what is stored and what is found with what was acknowledged."""
    checker, wanted = load.checker, load.acknowledged
    for ids in _parts(list(wanted)):
        request = items_pb2.GetItemsRequest(collection=COLLECTION, ids=ids)
        answer = server.items.GetItems(request, timeout=TIMEOUT_S)
        checker.require(not answer.missing_ids, f"{when}: lost {list(answer.missing_ids)[:5]}")
        wrong = [item.id for item in answer.items if item.text != wanted[item.id]]
        checker.require(not wrong, f"{when}: not the text that was acknowledged: {wrong[:5]}")
    for word in sorted(set(wanted.values())):
        stored = {id for id, text in wanted.items() if text == word}
        lacking = stored - set(server.search(word, limit=1000))
        checker.require(not lacking, f"{when}: stored, but not found: {sorted(lacking)[:5]}")
    there = [id for ids in _parts(list(load.deleted)) for id in set(ids) - set(server.missing(ids))]
    checker.require(not there, f"{when}: deleted, but there: {there[:5]}")


def _parts(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + 1000] for start in range(0, len(ids), 1000)]


def report(checker: Checker) -> str:
    """Tell what was done and seen, as JSON."""
    memory = [size >> 20 for _, size in checker.memory]
    return json.dumps(
        {
            "done": dict(sorted(checker.done.items())),
            "memory_mb": {"highest": max(memory), "by_tenths": memory[:: max(1, len(memory) // 10)]},
            "grew_mb": round(checker.growth() / (1 << 20), 1),
            "violations": len(checker.violations),
            "first_violations": checker.violations[:SHOWN],
        },
        indent=1,
    )


if __name__ == "__main__":
    asked = [float(value) for value in sys.argv[1:3]]
    seconds, swaps = (*asked, *(SECONDS, float(SWAPS))[len(asked) :])
    with tempfile.TemporaryDirectory() as folder:
        checker = soak(Path(folder) / "ws", seconds, int(swaps))
    print(report(checker))  # noqa: T201
    sys.exit(1 if checker.violations else 0)
