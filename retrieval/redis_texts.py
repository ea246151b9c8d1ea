"""The texts that a server without a database searches by words: a version's, and what came and went since.

Each has a place, from 0: those of the version first, as they were written, then those that came later.
"""

from array import array
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.backend_errors import IndexLost
from retrieval.bm25 import Places, tokenise
from retrieval.index import Keys
from retrieval.redis_item import RedisItem
from retrieval.redis_words import COUNT, Texts

NO_TEXTS = Texts(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64))


class KnownTexts:
    """The places of texts, of items and of their segments. Places are never given twice."""

    def __init__(self, written: Sequence[Texts]) -> None:
        """Begin with a version's texts, by partition."""
        self._rowids = np.concatenate([texts.rowids for texts in written])
        self._order = np.argsort(self._rowids)
        self._sorted = self._rowids[self._order]
        self._ends = np.cumsum([len(texts.rowids) for texts in written])
        self._keys = np.concatenate([texts.keys for texts in written])
        segments = np.concatenate([texts.segments for texts in written])
        self._key_ends = np.concatenate([[0], np.cumsum(segments)])
        key_order = np.argsort(self._keys)
        self._sorted_keys = self._keys[key_order]
        self._key_places = np.repeat(np.arange(len(self._rowids)), segments)[key_order]
        self._lengths = np.concatenate([texts.lengths for texts in written])
        self._gone = np.zeros(len(self._rowids), dtype=np.bool_)
        self._late = _LateTexts(len(self._rowids))

    @property
    def newest_written(self) -> int:
        """The highest item rowid among the version's texts."""
        return int(self._sorted[-1]) if len(self._sorted) else 0

    def lengths(self) -> NDArray[np.float64]:
        """Return how many tokens each text has, by place."""
        return np.concatenate([self._lengths, np.array(self._late.lengths, dtype=np.float64)])

    def alive(self) -> NDArray[np.bool_]:
        """Tell which texts are still there, by place."""
        return ~np.concatenate([self._gone, np.array(self._late.gone, dtype=np.bool_)])

    def add(self, partition: int, items: Sequence[RedisItem]) -> bool:
        """Take in items that have no place yet; tell whether some have a text."""
        return self._late.add(partition, items)

    def remove(self, rowid: int) -> bool:
        """Cross out an item's text; tell whether it was there."""
        place = self._written_place(rowid)
        if place < 0:
            return self._late.remove(rowid)
        was_there = not self._gone[place]
        self._gone[place] = True
        return was_there

    def place(self, rowid: int) -> int:
        """Return the place of an item's text, also of one that is gone; -1 if it never had one."""
        late = self._late.places.get(rowid)
        return self._written_place(rowid) if late is None else late

    def _written_place(self, rowid: int) -> int:
        at = int(np.searchsorted(self._sorted, rowid))
        return int(self._order[at]) if at < len(self._sorted) and self._sorted[at] == rowid else -1

    def places_of_keys(self, keys: Keys) -> Places:
        """Return the place of each segment's text, shape (n,); -1 where it has none that is known."""
        places = np.full(len(keys), -1, dtype=np.int64)
        if len(self._sorted_keys):
            at = np.minimum(np.searchsorted(self._sorted_keys, keys), len(self._sorted_keys) - 1)
            places = np.where(self._sorted_keys[at] == keys, self._key_places[at], -1)
        for unknown in np.flatnonzero(places < 0).tolist():
            places[unknown] = self._late.owners.get(int(keys[unknown]), -1)
        return places

    def segments(self, place: int) -> list[int]:
        """Return the keys of the segments of a text's item."""
        if place >= len(self._rowids):
            return self._late.keys[place - len(self._rowids)]
        keys: list[int] = self._keys[self._key_ends[place] : self._key_ends[place + 1]].tolist()
        return keys

    def owner(self, place: int) -> tuple[int, int]:
        """Return the partition and the rowid of a text's item."""
        if place >= len(self._rowids):
            return self._late.rows[place - len(self._rowids)]
        return int(np.searchsorted(self._ends, place, "right")), int(self._rowids[place])

    def late_holders(self, token: str) -> tuple[Places, NDArray[np.int64]]:
        """Return the places of texts that came later and hold a token, and how often each does."""
        places, times = self._late.postings.get(token, ((), ()))
        return np.array(places, dtype=np.int64), np.array(times, dtype=np.int64)


class _LateTexts:
    """Texts that came after the version's were written, with places above theirs."""

    def __init__(self, first: int) -> None:
        """Begin with none; the first gets this place."""
        self._first = first
        self.rows: list[tuple[int, int]] = []  # partition and rowid
        self.lengths: list[int] = []
        self.gone: list[bool] = []
        self.places: dict[int, int] = {}  # of rowids
        self.keys: list[list[int]] = []  # of the segments
        self.owners: dict[int, int] = {}  # places of segments' keys
        self.postings: dict[str, tuple[array[int], array[int]]] = {}  # places and times of each token

    def add(self, partition: int, items: Sequence[RedisItem]) -> bool:
        """Take in items; tell whether some have a text."""
        items = [item for item in items if item.text and item.rowid not in self.places]
        tokens = tokenise(item.text for item in items)
        for item in items:
            place = self._first + len(self.rows)
            self.rows.append((partition, item.rowid))
            self.places[item.rowid] = place
            self.lengths.append(len(tokens[item.text]))
            self.gone.append(False)
            self.keys.append([span.key for span in item.segments])
            self.owners |= dict.fromkeys(self.keys[-1], place)
            counts: dict[str, int] = {}
            for token in tokens[item.text]:
                counts[token] = counts.get(token, 0) + 1
            for token, times in counts.items():
                places_times = self.postings.setdefault(token, (array("q"), array("q")))
                places_times[0].append(place)
                places_times[1].append(times)
        return bool(items)

    def remove(self, rowid: int) -> bool:
        """Cross out an item; tell whether it was there."""
        place = self.places.get(rowid)
        if place is None or self.gone[place - self._first]:
            return False
        self.gone[place - self._first] = True
        return True


def joined(fields: Mapping[bytes, bytes]) -> Texts:
    """Put the numbered parts of a partition's texts together.

    Raises:
        IndexLost: if some are gone.
    """
    numbers = sorted(int(name) for name in fields if name.isdigit())
    parts = [Texts.from_bytes(fields[b"%d" % number]) for number in numbers]
    parts = parts or [NO_TEXTS]
    texts = Texts(
        np.concatenate([part.rowids for part in parts]),
        np.concatenate([part.lengths for part in parts]),
        np.concatenate([part.segments for part in parts]),
        np.concatenate([part.keys for part in parts]),
    )
    if len(texts.rowids) != int(fields[COUNT.encode()]):
        raise IndexLost("Redis no longer holds all texts of the index: build it again")
    return texts
