"""A collection's items in Redis: what hits show, for servers that have no database.

An item is one hash, named by its id, that is written at once: whoever writes last wins, whole. It lists its
segments, and a segment that its item does not list is dead: what a slower writer leaves behind is never seen.
"""

import binascii
from collections.abc import Iterator, Sequence
from typing import Any

from retrieval.errors import BackendUnavailable
from retrieval.redis_changes import changes_key
from retrieval.redis_item import FIELDS, RedisItem, item_from, spans_from
from retrieval.redis_layout import PREFIX, partition_tags
from retrieval.redis_reach import EVERYWHERE, Reach
from retrieval.redis_server import Command, RedisServer
from retrieval.search import Row

# Keys of segments that came in through a server without a database: far above any rowid, below 2^53, which
# the scores of sorted sets hold exactly. The next `index` gives them rowids.
FIRST_PROVISIONAL_KEY = 1 << 52

LIST_BATCH = 1000
WRITE_BATCH = 500

# KEYS: item, order, changes. ARGV: id, rowid, whether all is told, then fields. Returns the segments that the
# item had before. Another content has another rowid; what merely has other attributes neither comes nor goes.
PUT = """
local was = redis.call('HMGET', KEYS[1], 'rowid', 'segments')
redis.call('DEL', KEYS[1])
for at = 4, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
if was[1] ~= ARGV[2] then
  if was[1] then redis.call('XADD', KEYS[3], '*', 'gone', was[1]) end
  if ARGV[3] == '1' then redis.call('XADD', KEYS[3], '*', 'come', ARGV[2], 'id', ARGV[1]) end
end
return was[2]"""

# KEYS: item, order, changes. ARGV: id. Returns the segments that the item had, or nil.
DELETE = """
local was = redis.call('HMGET', KEYS[1], 'rowid', 'segments')
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
if was[1] then redis.call('XADD', KEYS[3], '*', 'gone', was[1]) end
return was[2]"""


class RedisItems:
    """The items of one collection. Safe to use from several threads and processes."""

    def __init__(self, server: RedisServer, collection: str, partitions: int) -> None:
        """Look at a collection, which may be empty."""
        self._server = server
        self.collection = collection
        self._tags = partition_tags(collection, partitions)

    @property
    def partitions(self) -> int:
        """Over how many partitions they are spread."""
        return len(self._tags)

    def _item(self, id: str) -> str:
        return f"{self._prefix(self._place(id))}:item:{id}"

    def _prefix(self, partition: int) -> str:
        return f"{PREFIX}:{self.collection}:{{{self._tags[partition]}}}"

    def _place(self, id: str) -> int:
        return binascii.crc32(id.encode()) % len(self._tags)

    def _order(self, partition: int) -> str:
        return f"{self._prefix(partition)}:order"

    def _segments(self, key: int) -> str:
        return f"{self._prefix(key % len(self._tags))}:segments"

    @property
    def _generation(self) -> str:
        return f"{PREFIX}:{{{self.collection}}}:generation"

    @property
    def _sequence(self) -> str:
        return f"{PREFIX}:{{{self.collection}}}:sequence"

    def generation(self, reach: Reach = EVERYWHERE) -> int:
        """Return a number that grows with each write to the collection; -1 if it is out of reach."""
        return generation_of(reach.ask(self._server, [self.ask_generation()])[0])

    def ask_generation(self) -> Command:
        """Make the command whose reply `generation_of` reads."""
        return ("GET", self._generation)

    def changed(self) -> None:
        """Tell every server that something is other than before."""
        self._server.call("INCR", self._generation)

    def new_keys(self, count: int) -> range:
        """Hand out provisional keys."""
        last = FIRST_PROVISIONAL_KEY + int(self._server.call("INCRBY", self._sequence, count))
        return range(last - count, last)

    def put(self, items: Sequence[RedisItem], *, told: bool = True) -> list[int]:
        """Write items, each at once.

        Args:
            items: in any number.
            told: write down which are new; else whoever does it marks the changes when all is done.

        Returns:
            The keys of segments that died by it, whose vectors are to be removed.
        """
        dead: list[int] = []
        for start in range(0, len(items), WRITE_BATCH):
            part = items[start : start + WRITE_BATCH]
            # Segments first: one that is not listed yet is not seen.
            self._server.run(
                [
                    ("HSET", self._segments(span.key), str(span.key), item.id)
                    for item in part
                    for span in item.segments
                ]
            )
            # What is new and that something is reach others at once, else they look for what is dead.
            puts = [self._put(item, told) for item in part]
            replies = self._server.run([*puts, ("INCR", self._generation)])
            for item, before in zip(part, replies[:-1], strict=True):
                kept = {span.key for span in item.segments}
                dead += [span.key for span in spans_from(before) if span.key not in kept]
        self._forget(dead)
        return dead

    def _put(self, item: RedisItem, told: bool) -> Command:
        pairs = [part for pair in zip(FIELDS, item.values(), strict=True) for part in pair]
        return ("EVAL", PUT, 3, *self._keys(item.id), item.id, item.rowid, int(told), *pairs)

    def _keys(self, id: str) -> tuple[str, str, str]:
        """The Redis keys that the scripts write."""
        place = self._place(id)
        return self._item(id), self._order(place), changes_key(self.collection, self._tags[place])

    def delete(self, ids: Sequence[str]) -> tuple[list[str], list[int]]:
        """Delete items.

        Returns:
            The ids that were there, and the keys of their segments, whose vectors are to be removed.
        """
        wanted = list(dict.fromkeys(ids))
        deletes = [("EVAL", DELETE, 3, *self._keys(id), id) for id in wanted]
        *replies, _ = self._server.run([*deletes, ("INCR", self._generation)]) if wanted else [None]
        found = [id for id, before in zip(wanted, replies, strict=True) if before is not None]
        dead = [span.key for before in replies for span in spans_from(before)]
        self._forget(dead)
        return found, dead

    def delete_all(self) -> None:
        """Delete all items, and what is kept beside them. Their vectors stay."""
        while listed := self.listed(0, LIST_BATCH):
            self.delete([id for _, id in listed])
        for place, tag in enumerate(self._tags):
            own = (self._order(place), f"{self._prefix(place)}:segments", changes_key(self.collection, tag))
            self._server.run([("UNLINK", key) for key in own])
        self._server.run([("UNLINK", self._generation), ("UNLINK", self._sequence)])

    def _forget(self, keys: Sequence[int]) -> None:
        self._server.run([("HDEL", self._segments(key), str(key)) for key in keys])

    def get(self, ids: Sequence[str], reach: Reach = EVERYWHERE) -> dict[str, RedisItem]:
        """Return the items of these ids that exist."""
        wanted = list(dict.fromkeys(ids))
        replies = reach.ask(self._server, [("HMGET", self._item(id), *FIELDS) for id in wanted])
        return {
            id: item_from(id, reply)
            for id, reply in zip(wanted, replies, strict=True)
            if not isinstance(reply, BackendUnavailable) and reply[0] is not None
        }

    def owners(self, keys: Sequence[int], reach: Reach = EVERYWHERE) -> dict[int, str]:
        """Return the id of the item that each segment was written for; it may list it no more."""
        replies = reach.ask(self._server, [("HGET", self._segments(key), str(key)) for key in keys])
        return {
            key: reply.decode() for key, reply in zip(keys, replies, strict=True) if isinstance(reply, bytes)
        }

    def rows(self, keys: Sequence[int], reach: Reach = EVERYWHERE) -> dict[int, Row | None]:
        """Return what hits on these segments show; None for those that are dead, or out of reach."""
        owners = self.owners(keys, reach)
        items = self.get(list(owners.values()), reach)
        rows: dict[int, Row | None] = dict.fromkeys(keys)
        for key, owner in owners.items():
            if owner in items:
                rows[key] = items[owner].row(key)
        return rows

    def count(self) -> int:
        """Count the items."""
        return sum(self._server.run([("ZCARD", self._order(place)) for place in range(len(self._tags))]))

    def count_taken_over(self) -> int:
        """Count the items that came from the database."""
        below = ("-inf", f"({FIRST_PROVISIONAL_KEY}")
        return sum(
            self._server.run([("ZCOUNT", self._order(place), *below) for place in range(len(self._tags))])
        )

    def count_segments(self) -> int:
        """Count the segments that were written, those on their way out included."""
        return sum(
            self._server.run(
                [("HLEN", f"{self._prefix(place)}:segments") for place in range(len(self._tags))]
            )
        )

    def listed(self, after_rowid: int, limit: int) -> list[tuple[int, str]]:
        """List rowids and ids above a rowid, by ascending rowid."""
        above = (f"({after_rowid}", "+inf", "BYSCORE", "LIMIT", 0, limit, "WITHSCORES")
        replies = self._server.run(
            [("ZRANGE", self._order(place), *above) for place in range(len(self._tags))]
        )
        found = [
            (int(float(rowid)), id.decode())
            for reply in replies
            for id, rowid in zip(reply[::2], reply[1::2], strict=True)
        ]
        return sorted(found)[:limit]

    def above(self, rowid: int, reach: Reach = EVERYWHERE) -> list[dict[int, str] | None]:
        """List the rowids and ids above a rowid, by partition; None for one that is out of reach."""
        replies = reach.ask(
            self._server,
            [
                ("ZRANGE", self._order(place), f"({rowid}", "+inf", "BYSCORE", "WITHSCORES")
                for place in range(len(self._tags))
            ],
        )
        return [
            None
            if isinstance(reply, BackendUnavailable)
            else {int(float(at)): id.decode() for id, at in zip(reply[::2], reply[1::2], strict=True)}
            for reply in replies
        ]

    def ids_of(self, rowids: Sequence[tuple[int, int]], reach: Reach = EVERYWHERE) -> list[str | None]:
        """Return the ids of items; None for those that are gone, or out of reach.

        Args:
            rowids: each with its partition.
            reach: whether parts may be away.
        """
        replies = reach.ask(
            self._server,
            [("ZRANGE", self._order(place), rowid, rowid, "BYSCORE") for place, rowid in rowids],
        )
        return [reply[0].decode() if isinstance(reply, list) and reply else None for reply in replies]

    def place(self, id: str) -> int:
        """Return the partition that an item lies in."""
        return self._place(id)

    def keys_of_some(self, limit: int) -> list[str]:
        """Return the Redis keys of the first items."""
        return [self._item(id) for _, id in self.listed(0, limit)]

    def walk(self, after_rowid: int = 0, batch: int = LIST_BATCH) -> Iterator[RedisItem]:
        """Yield all items by ascending rowid, so many of which are read at once."""
        while listed := self.listed(after_rowid, batch):
            items = self.get([id for _, id in listed])
            yield from (items[id] for _, id in listed if id in items)
            after_rowid = listed[-1][0]


def generation_of(reply: Any) -> int:
    """Read a collection's generation; -1 if it is out of reach."""
    return -1 if isinstance(reply, BackendUnavailable) else int(reply or 0)
