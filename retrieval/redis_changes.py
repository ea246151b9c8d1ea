"""Which items came and went, in order: one stream for each partition, written with the items themselves.

Whoever holds something made of all items, such as an index of their words, follows it from where it was made.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from retrieval.errors import BackendUnavailable
from retrieval.redis_layout import PREFIX, partition_tags
from retrieval.redis_reach import EVERYWHERE, Reach
from retrieval.redis_server import Command, RedisServer


def changes_key(collection: str, tag: str) -> str:
    """Name the stream of a partition."""
    return f"{PREFIX}:{collection}:{{{tag}}}:changes"


@dataclass(slots=True)
class Changes:
    """What happened in a partition since a place in its stream."""

    upto: str  # the place of the last of it
    gone: list[int] = field(default_factory=list)  # rowids
    come: dict[int, str] = field(default_factory=dict)  # rowid -> id
    marked: bool = False  # more came than is listed: look at all items above the last build


class RedisChanges:
    """Reads the streams of one collection. Safe to use from several threads and processes."""

    def __init__(self, server: RedisServer, collection: str, partitions: int) -> None:
        """Look at a collection."""
        self._server = server
        self._keys = [changes_key(collection, tag) for tag in partition_tags(collection, partitions)]

    def mark(self, forget_before: Sequence[str] = ()) -> list[str]:
        """Say that more changed than is told item by item.

        Args:
            forget_before: a place for each partition, before which nobody needs to know what changed.

        Returns:
            The places of the marks, one for each partition.
        """
        commands: list[Command] = []
        for partition, key in enumerate(self._keys):
            forget = ("MINID", forget_before[partition]) if forget_before else ()
            commands.append(("XADD", key, *forget, "*", "mark", 1))
        return [place.decode() for place in self._server.run(commands)]

    def since(self, places: Sequence[str], reach: Reach = EVERYWHERE) -> list[Changes | None]:
        """Read what happened in each partition after a place; None for one that is out of reach."""
        replies = reach.ask(
            self._server,
            [("XRANGE", key, f"({place}", "+") for key, place in zip(self._keys, places, strict=True)],
        )
        found: list[Changes | None] = []
        for place, reply in zip(places, replies, strict=True):
            found.append(None if isinstance(reply, BackendUnavailable) else _changes(place, reply))
        return found


def _changes(place: str, entries: Sequence[Any]) -> Changes:
    changes = Changes(place)
    for at, (kind, *told) in entries:
        changes.upto = at.decode()
        if kind == b"gone":
            rowid = int(told[0])
            changes.gone.append(rowid)
            changes.come.pop(rowid, None)
        elif kind == b"come":
            changes.come[int(told[0])] = told[2].decode()
        else:
            changes.marked, changes.come = True, {}
    return changes
