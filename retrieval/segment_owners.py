"""Which item each segment belongs to, and which segments an item has."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeAlias, TypeVar

from retrieval.segments import as_json
from retrieval.workspace import Workspace

MAX_KEPT = 100_000

Owner: TypeAlias = tuple[int, str]  # rowid and id of an item
V = TypeVar("V")


class Kept(Generic[V]):
    """What the database says of numbered things, read once for as long as nobody writes."""

    def __init__(self, read: Callable[[Sequence[int]], Mapping[int, V]], absent: V) -> None:
        """Begin empty.

        Args:
            read: reads many; leaves out what is not there.
            absent: stands for what is not there.
        """
        self._read = read
        self._absent = absent
        self._generation = -1
        self._values: dict[int, V] = {}
        self._lock = threading.Lock()

    def get(self, keys: Sequence[int], generation: int) -> Mapping[int, V]:
        """Return a mapping that has these keys at least, as they are in this generation of the database."""
        with self._lock:
            if generation != self._generation or len(self._values) > MAX_KEPT:
                self._generation, self._values = generation, {}
            values = self._values  # another generation gets another one
        missing = [key for key in keys if key not in values]
        if missing:
            values.update(dict.fromkeys(missing, self._absent) | dict(self._read(missing)))
        return values


def read_owners(ws: Workspace, collection: str, keys: Sequence[int]) -> dict[int, Owner | None]:
    """Return the item of each segment; those that are dead or of another collection are left out."""
    rows = ws.fetch(
        "SELECT segments.rowid, segments.item, items.id"
        " FROM json_each(?) AS wanted CROSS JOIN segments ON segments.rowid = wanted.value"
        " CROSS JOIN items ON items.rowid = segments.item WHERE items.collection = ?",
        (as_json(keys), collection),
    )
    return {key: (item, id) for key, item, id in rows}


def read_segments(ws: Workspace, items: Sequence[int]) -> dict[int, Sequence[int]]:
    """Return the segments' keys of each item, by rowid; items without any are left out."""
    rows = ws.fetch(
        "SELECT segments.item, segments.rowid"
        " FROM json_each(?) AS wanted CROSS JOIN segments ON segments.item = wanted.value",
        (as_json(items),),
    )
    found: dict[int, list[int]] = {}
    for item, key in rows:
        found.setdefault(item, []).append(key)
    return dict(found)
