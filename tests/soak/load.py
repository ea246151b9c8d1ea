"""The kinds of load, each in threads of its own, each checking what it is answered."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
from google.rpc import error_details_pb2

from protos.twinspire.v1 import (
    collections_pb2,
    collections_pb2_grpc,
    content_pb2,
    filters_pb2,
    items_pb2,
    search_pb2,
)
from tests.faults.served import TIMEOUT_S, Served
from tests.server.running import failure_of, unpack
from tests.server.workspaces import COLLECTION, WORDS, direction
from tests.soak.checker import Checker

SAME = 0.999  # a cosine of 1 that was rounded
KEPT = 200  # items that a writer keeps; older ones are deleted
BURST, BURST_BATCH = 30, 64  # calls at once, and searches in each: more than the queue takes
PAUSE_S = 0.002  # between calls: the load is to last, not to win


@dataclass
class Load:
    """Mixed load on a server, until it is told to stop."""

    server: Served
    checker: Checker
    stop: threading.Event = field(default_factory=threading.Event)
    acknowledged: dict[str, str] = field(default_factory=dict)  # id -> text, of items that must be there
    deleted: set[str] = field(default_factory=set)  # ids that must not
    threads: list[threading.Thread] = field(default_factory=list)
    swapper: threading.Thread = field(init=False)

    def start(self, seconds: float, swaps: int, versions: tuple[str, str]) -> None:
        """Begin: searches, writes, bursts, cancels and swaps."""
        self.checker.started = time.monotonic()
        works: list[Callable[[], None]] = [
            lambda: self._repeat("search", self._search_text),
            lambda: self._repeat("search", self._search_vector),
            lambda: self._repeat("batch", self._search_batch, pause_s=0.02),
            lambda: self._write("one"),
            lambda: self._write("two"),
            lambda: self._repeat("burst", self._burst, pause_s=2.0),
            lambda: self._repeat("cancel", self._cancel, pause_s=0.05),
            lambda: self._swap(seconds, swaps, versions),
            self._watch_memory,
        ]
        self.threads = [threading.Thread(target=work, daemon=True) for work in works]
        self.swapper = self.threads[-2]
        for thread in self.threads:
            thread.start()

    def end(self) -> None:
        """Wait for the last swap, stop, and wait until nothing is under way."""
        self.swapper.join(TIMEOUT_S)
        self.stop.set()
        for thread in self.threads:
            thread.join(TIMEOUT_S)
            self.checker.require(not thread.is_alive(), "a call never ended")

    def _repeat(self, what: str, work: Callable[[], None], pause_s: float = PAUSE_S) -> None:
        while not self.stop.wait(pause_s):
            with self.checker.attempt(what):
                work()

    def _ask(
        self, query: search_pb2.Query, ids: list[str] | None = None, fingerprint: str = ""
    ) -> search_pb2.SearchResponse:
        request = search_pb2.SearchRequest(
            collection=COLLECTION, query=query, limit=5, expected_encoder_fingerprint=fingerprint
        )
        if ids:
            request.filter.must.add(has_id=filters_pb2.HasId(ids=ids))
        return self.server.searches.Search(request, timeout=TIMEOUT_S)

    def _search_text(self) -> None:
        word = random.choice(WORDS)
        answer = self._ask(search_pb2.Query(text=word))
        best = answer.hits[0].score if answer.hits else 0.0
        self.checker.require(best > SAME, f"{word!r} scored {best} in {answer.index_version}")

    def _search_vector(self) -> None:
        """Search by a word's vector under the encoder that was live a moment ago, and say so."""
        seen = self._ask(search_pb2.Query(text="north"))
        version = 2 if seen.model_version.endswith("@2") else 1
        vector = content_pb2.DenseVector(f32le=direction(random.choice(WORDS), version).tobytes())
        try:
            answer = self._ask(search_pb2.Query(vector=vector), fingerprint=seen.encoder_fingerprint)
        except grpc.RpcError as error:
            if failure_of(error).reason != "ENCODER_INDEX_MISMATCH":  # it was swapped in between
                raise
            self.checker.count("vector of the version before refused")
            return
        best = answer.hits[0].score if answer.hits else 0.0
        self.checker.require(best > SAME, f"a word's vector scored {best} in {answer.index_version}")

    def _search_batch(self) -> None:
        query = search_pb2.SearchRequest(collection=COLLECTION, query=search_pb2.Query(text="north"), limit=1)
        request = search_pb2.BatchSearchRequest(requests=[query] * 16)
        answer = self.server.searches.BatchSearch(request, timeout=TIMEOUT_S)
        versions = {each.response.index_version for each in answer.results if each.HasField("response")}
        self.checker.require(len(versions) <= 1, f"one batch was answered by {versions}")

    def _burst(self) -> None:
        """Ask for more than the queue takes: each search is answered, or refused with a time to retry."""
        query = search_pb2.SearchRequest(collection=COLLECTION, query=search_pb2.Query(text="far"), limit=5)
        request = search_pb2.BatchSearchRequest(requests=[query] * BURST_BATCH)
        calls = [self.server.searches.BatchSearch.future(request, timeout=TIMEOUT_S) for _ in range(BURST)]
        for call in calls:
            for result in call.result().results:
                if result.HasField("response"):
                    self.checker.count("burst search")
                    continue
                kinds = {type(detail) for detail in unpack(result.error)}
                refused = result.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
                self.checker.require(
                    refused and error_details_pb2.RetryInfo in kinds, f"burst: {result.error.message}"
                )
                self.checker.count("burst search refused")

    def _cancel(self) -> None:
        query = search_pb2.SearchRequest(collection=COLLECTION, query=search_pb2.Query(text="old"), limit=5)
        calls = [self.server.searches.Search.future(query, timeout=TIMEOUT_S) for _ in range(8)]
        time.sleep(random.random() / 200)
        for call in calls:
            call.cancel()

    def _write(self, name: str) -> None:
        """Upsert, replace and delete items of its own; what was acknowledged is found by the next search."""
        kept: list[str] = []
        number = 0
        while not self.stop.wait(0.02):
            with self.checker.attempt("upsert"):
                text = random.choice(WORDS)
                ids = [f"{name}{number + at}" for at in range(3)] + random.sample(kept, min(2, len(kept)))
                number += 3
                kept += [id for id in ids if id not in kept]
                for id in ids:  # until it is answered, an item may be the old one or the new one
                    self.acknowledged.pop(id, None)
                self._upsert(ids, text)
                self.acknowledged |= dict.fromkeys(ids, text)
                self._expect(ids, text)
            if len(kept) > KEPT:
                with self.checker.attempt("delete"):
                    gone, kept = kept[:50], kept[50:]
                    for id in gone:
                        self.acknowledged.pop(id, None)
                    self.server.delete(*gone)
                    self.deleted |= set(gone)
                    answer = self._ask(search_pb2.Query(text="far"), gone)
                    self.checker.require(not answer.hits, "a deleted item was found")

    def _upsert(self, ids: list[str], text: str) -> None:
        items = [items_pb2.Item(id=id, text=text) for id in ids]
        request = items_pb2.UpsertItemsRequest(collection=COLLECTION, items=items)
        (answer,) = self.server.items.UpsertItems(iter([request]), timeout=TIMEOUT_S)
        self.checker.require(not answer.errors, f"upsert: {answer.errors}")

    def _expect(self, ids: list[str], text: str) -> None:
        answer = self._ask(search_pb2.Query(text=text), ids)
        found = {hit.id for hit in answer.hits if hit.score > SAME}
        self.checker.require(
            found == set(ids), f"acknowledged but not found: {set(ids) - found} in {answer.index_version}"
        )

    def _swap(self, seconds: float, swaps: int, versions: tuple[str, str]) -> None:
        stub = collections_pb2_grpc.CollectionServiceStub(self.server.channel)
        for at in range(swaps):
            due = self.checker.started + (at + 1) * seconds / (swaps + 1)
            if self.stop.wait(max(0.0, due - time.monotonic())):
                return
            with self.checker.attempt("swap"):
                old, new = versions[at % 2], versions[(at + 1) % 2]
                request = collections_pb2.SetLiveVersionRequest(
                    collection=COLLECTION, version=new, expected_version=old
                )
                answer = stub.SetLiveVersion(request, timeout=TIMEOUT_S)
                self.checker.require(answer.live_version == new, f"swapped to {answer.live_version}")

    def _watch_memory(self) -> None:
        while True:
            at = time.monotonic() - self.checker.started
            self.checker.memory.append((at, self.server.memory))
            if self.stop.wait(0.5):
                return
