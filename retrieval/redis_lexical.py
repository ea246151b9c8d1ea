"""BM25 for a server without a database: a version's words in Redis, and what came and went since.

Texts that came later are few: they are read from their items and kept here, those that went are crossed out,
so scores are at all times those of the texts there are. Only postings that are asked for are fetched.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from retrieval.backend_errors import IndexLost
from retrieval.bm25 import Bm25, Places
from retrieval.errors import BackendUnavailable, FailedPrecondition
from retrieval.index import Selection
from retrieval.redis_changes import Changes, RedisChanges
from retrieval.redis_items import RedisItems
from retrieval.redis_layout import VectorKeys
from retrieval.redis_reach import Reach
from retrieval.redis_server import RedisServer
from retrieval.redis_texts import NO_TEXTS, KnownTexts, joined
from retrieval.redis_words import SINCE, TOKENS, partition_of_token, unpack_holders

MAX_FETCHED_BYTES = 64 << 20  # postings as Redis gave them
MAX_WEIGHED_BYTES = 64 << 20  # the same with their weights, for the texts there are now
MAX_NAMES = 200_000
# Of texts that all score the same, so many are put into the order of their ids.
MAX_TIED = 4000
FETCH_ITEMS = 1000


class LexicalNotServed(FailedPrecondition):
    """This version's words are not in Redis, and this server has no database."""

    reason = "LEXICAL_NOT_SERVED"

    def __init__(self) -> None:
        super().__init__(
            "this version's words are not in Redis: promote it again where the workspace is, or ask for text"
        )


class RedisLexical(Bm25):
    """The words of one version, as of the last `follow`. Safe to use from several threads."""

    def __init__(
        self, server: RedisServer, where: VectorKeys, items: RedisItems, reach: Callable[[], Reach]
    ) -> None:
        """Read nothing yet.

        Args:
            server: Redis.
            where: the version's keys.
            items: of the collection.
            reach: tells whether what this thread does now may miss parts that are away.
        """
        super().__init__()
        self._server = server
        self._where = where
        self._items = items
        self._changes = RedisChanges(server, where.collection, where.partitions)
        self._lock = threading.RLock()
        self._since: list[str] = []  # per partition; empty until all is read
        self._generation = -1
        self._reach_now = reach
        self._fetched: OrderedDict[str, bytes] = OrderedDict()
        self._fetched_bytes = self._weighed_bytes = 0
        self._names: dict[int, str] = {}  # of rowids, which are never given twice
        self._masks: WeakKeyDictionary[Selection, NDArray[np.bool_]] = WeakKeyDictionary()
        self._texts = KnownTexts([NO_TEXTS])

    @property
    def _reach(self) -> Reach:
        return self._reach_now()

    def follow(self, generation: int) -> None:
        """Come in step with what was written.

        Args:
            generation: of the collection; what was seen at the same one is not looked at again.

        Raises:
            LexicalNotServed: if the version's words were never written.
            IndexLost: if some are gone.
            BackendUnavailable: if Redis does not answer.
        """
        with self._lock:
            self._follow(generation, self._reach)

    def _follow(self, generation: int, reach: Reach) -> None:
        fresh = not self._since
        if fresh:
            self._load()
        elif generation == self._generation >= 0:
            return
        told = self._changes.since(self._since, reach)
        look = fresh or any(changes and changes.marked for changes in told)
        listed = self._items.above(self._texts.newest_written, reach) if look else None
        if any(changes is None for changes in told) or (listed is not None and None in listed):
            if fresh:
                self._since = []  # what came since is unknown: begin again
            return
        changed = fresh
        for partition, changes in enumerate(told):
            assert changes is not None
            come = dict(changes.come)
            if listed is not None:
                come |= listed[partition] or {}
            changed = self._apply(partition, changes, come) or changed
            self._since[partition] = changes.upto
        if changed:
            self._count()
        self._generation = generation

    def _load(self) -> None:
        """Read the texts' lengths and segments as they were written."""
        partitions = range(self._where.partitions)
        replies = self._reach.ask(
            self._server,
            [
                command
                for p in partitions
                for command in (("HGETALL", self._where.texts(p)), ("HLEN", self._where.words(p)))
            ],
        )
        for reply in replies:
            if isinstance(reply, BackendUnavailable):
                raise reply  # without all lengths there are no places
        parts = [dict(zip(reply[::2], reply[1::2], strict=True)) for reply in replies[::2]]
        if any(SINCE.encode() not in fields for fields in parts):
            raise LexicalNotServed
        for fields, words in zip(parts, replies[1::2], strict=True):
            if int(fields[TOKENS.encode()]) != words:
                raise IndexLost("Redis no longer holds all words of the index: build it again")
        self._texts = KnownTexts([joined(fields) for fields in parts])
        self._since = [fields[SINCE.encode()].decode() for fields in parts]

    def _apply(self, partition: int, changes: Changes, come: Mapping[int, str]) -> bool:
        """Cross out what went and take in what came; tell whether that was anything."""
        changed = False
        for rowid in changes.gone:
            changed = self._texts.remove(rowid) or changed
        new = {rowid: id for rowid, id in come.items() if self._texts.place(rowid) < 0}
        ids = list(new.values())
        for start in range(0, len(ids), FETCH_ITEMS):
            items = self._items.get(ids[start : start + FETCH_ITEMS], self._reach)
            wanted = [item for item in items.values() if item.rowid in new]
            changed = self._texts.add(partition, wanted) or changed
        return changed

    def _count(self) -> None:
        """Count the texts there are; what was weighed by other counts is forgotten."""
        self._lengths, self._alive = self._texts.lengths(), self._texts.alive()
        self._total = int(self._alive.sum())
        self._mean_length = float(self._lengths[self._alive].sum()) / max(1, self._total)
        self._forget_weights()
        self._masks = WeakKeyDictionary()

    def _forget_weights(self) -> None:
        self._postings, self._weighed_bytes = {}, 0

    def find(
        self, texts: Sequence[str], limit: int, selection: Selection | None
    ) -> list[list[tuple[int, str, float]]]:
        """Find the items that fit each text best, of those that a filter lets through."""
        with self._lock:
            return self.search(texts, limit, None if selection is None else self._mask(selection))

    def scores(self, texts: Sequence[str], item_rowids: Sequence[Sequence[int]]) -> list[list[float]]:
        """Score given items for each text; those that are gone or have no term in common score 0."""
        with self._lock:
            return super().scores(texts, item_rowids)

    def _prepare(self, texts: Sequence[str]) -> list[list[str]]:
        if self._weighed_bytes > MAX_WEIGHED_BYTES:
            self._forget_weights()
        return super()._prepare(texts)

    def _read(self, tokens: set[str]) -> None:
        missing = sorted(tokens - self._fetched.keys())
        replies = self._reach.ask(
            self._server,
            [
                ("HGET", self._where.words(partition_of_token(token, self._where.partitions)), token)
                for token in missing
            ],
        )
        away = set()
        for token, reply in zip(missing, replies, strict=True):
            if isinstance(reply, BackendUnavailable):
                away.add(token)  # not kept, so that it is asked for again
            else:
                self._keep(token, reply or b"")
        for token in tokens:
            raw = b"" if token in away else self._fetched[token]
            self._postings[token] = self._weigh(*self._holders(token, raw))
            self._weighed_bytes += 16 * len(self._postings[token][0])
        self._shrink()
        if away:  # the next search is to look again
            self._weighed_bytes = MAX_WEIGHED_BYTES + 1

    def _keep(self, token: str, raw: bytes) -> None:
        self._fetched[token] = raw
        self._fetched_bytes += len(raw)

    def _shrink(self) -> None:
        while self._fetched_bytes > MAX_FETCHED_BYTES:
            _, raw = self._fetched.popitem(last=False)
            self._fetched_bytes -= len(raw)

    def _holders(self, token: str, raw: bytes) -> tuple[Places, NDArray[np.int64]]:
        """Return the places of living texts that hold a token, and how often each does."""
        places, times = unpack_holders(raw) if raw else (np.empty(0, np.int64), np.empty(0, np.int64))
        late_places, late_times = self._texts.late_holders(token)
        places, times = np.concatenate([places, late_places]), np.concatenate([times, late_times])
        alive = self._alive[places]
        return places[alive], times[alive]

    def _mask(self, selection: Selection) -> NDArray[np.bool_]:
        """Tell which texts belong to items that a filter lets through, shape (documents,)."""
        known = self._masks.get(selection)
        if known is None:
            known = np.zeros(len(self._lengths), dtype=np.bool_)
            places = self._texts.places_of_keys(selection.keys)
            known[places[places >= 0]] = True
            self._masks[selection] = known
        return known

    def _places(self, rowids: Sequence[int]) -> Places:
        places = [self._texts.place(rowid) for rowid in rowids]
        return np.array([place if place >= 0 and self._alive[place] else -1 for place in places], np.int64)

    def owners(self, keys: Sequence[int]) -> dict[int, tuple[int, str] | None]:
        """Return item rowid and id of segments; without those of items that have no text."""
        with self._lock:
            places = self._texts.places_of_keys(np.array(keys, dtype=np.int64))
            there = np.flatnonzero(places >= 0)
            named = self._named_all(places[there])
            return {
                keys[at]: row if self._alive[places[at]] else None
                for at, row in zip(there.tolist(), named, strict=True)
            }

    def segments_of(self, rowids: Sequence[int]) -> dict[int, Sequence[int]]:
        """Return the segments' keys of items that have a text."""
        with self._lock:
            places = zip(rowids, self._places(rowids).tolist(), strict=True)
            return {rowid: self._texts.segments(place) for rowid, place in places if place >= 0}

    def _named(self, places: Places) -> list[tuple[int, str] | None]:
        found = self._named_all(places[:MAX_TIED])
        return found + [None] * (len(places) - len(found))

    def _named_all(self, places: Places) -> list[tuple[int, str] | None]:
        rows = [self._texts.owner(place) for place in places.tolist()]
        unknown = [row for row in rows if row[1] not in self._names]
        if unknown:
            if len(self._names) > MAX_NAMES:
                self._names = {}
            ids = self._items.ids_of(unknown, self._reach)
            self._names |= {rowid: id for (_, rowid), id in zip(unknown, ids, strict=True) if id is not None}
        return [(rowid, self._names[rowid]) if rowid in self._names else None for _, rowid in rows]
