"""The words of a version in Redis: who holds which token how often, for BM25 without a database.

Texts have places: ordered by the partition that their item lies in, then by rowid. A token lies whole in one
partition, so that a query carries each of its tokens once, however many partitions there are.
"""

import binascii
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.collections import collection_rowid, text_index
from retrieval.index import Keys
from retrieval.lexical_batch import instances_view, text_lengths
from retrieval.redis_items import RedisItems
from retrieval.redis_layout import VectorKeys
from retrieval.redis_server import Command, RedisServer
from retrieval.workspace import Workspace

# Tokens that are looked at together: sorting many short lists at once is faster than one by one.
TOKENS_AT_ONCE = 4096
TOKENS_A_COMMAND = 128
COMMANDS_IN_FLIGHT = 64
# Occurrences held while they are sorted.
MAX_OCCURRENCES = 2_000_000
# Texts in one field.
TEXTS_A_FIELD = 100_000

# Fields of `texts` beside the numbered parts. `since` is written last: where it is, all is there.
SINCE, COUNT, TOKENS = "since", "count", "tokens"


@dataclass(frozen=True, slots=True)
class Texts:
    """Some texts with the segments of their items; arrays of one length but for the keys."""

    rowids: NDArray[np.int64]  # of items, ascending
    lengths: NDArray[np.float64]  # in tokens
    segments: NDArray[np.int64]  # how many each has
    keys: Keys  # of the segments, item by item

    def to_bytes(self) -> bytes:
        """Pack them."""
        parts = (self.rowids.astype("<i8"), self.lengths.astype("<u4"), self.segments.astype("<u4"))
        head = np.array([len(self.rowids)], "<i8")
        return b"".join(part.tobytes() for part in (head, *parts, self.keys.astype("<i8")))

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Texts":
        """Unpack them.

        >>> one = np.array([1])
        >>> Texts.from_bytes(Texts(one, one * 5.0, one * 2, np.array([7, 8])).to_bytes()).keys
        array([7, 8])
        """
        count = int(np.frombuffer(raw, "<i8", 1)[0])
        rowids = np.frombuffer(raw, "<i8", count, 8)
        lengths = np.frombuffer(raw, "<u4", count, 8 + 8 * count).astype(np.float64)
        segments = np.frombuffer(raw, "<u4", count, 8 + 12 * count).astype(np.int64)
        return cls(rowids, lengths, segments, np.frombuffer(raw, "<i8", -1, 8 + 16 * count))


_WIDTHS = ("<u1", "<u2", "<u4")


def _width(most: int) -> int:
    return 0 if most < 1 << 8 else 1 if most < 1 << 16 else 2


def pack_holders(gaps: NDArray[np.int64], times: NDArray[np.int64]) -> bytes:
    """Pack who holds a token: the first place, the steps from one place to the next, and how often each.

    >>> pack_holders(np.array([3, 1, 300]), np.array([1, 1, 2])).hex()
    '0100030001002c01010102'
    """
    widths = _width(int(gaps.max())), _width(int(times.max()))
    return (
        bytes(widths) + gaps.astype(_WIDTHS[widths[0]]).tobytes() + times.astype(_WIDTHS[widths[1]]).tobytes()
    )


def unpack_holders(raw: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places that hold a token, ascending, and how often each does.

    >>> unpack_holders(bytes.fromhex("0100030001002c01010102"))
    (array([  3,   4, 304]), array([1, 1, 2]))
    """
    of_gap, of_times = _WIDTHS[raw[0]], _WIDTHS[raw[1]]
    count = (len(raw) - 2) // (np.dtype(of_gap).itemsize + np.dtype(of_times).itemsize)
    gaps = np.frombuffer(raw, of_gap, count, 2)
    times = np.frombuffer(raw, of_times, count, 2 + gaps.nbytes)
    return np.cumsum(gaps, dtype=np.int64), times.astype(np.int64)


def partition_of_token(token: str, partitions: int) -> int:
    """Tell in which partition a token lies."""
    return binascii.crc32(token.encode()) % partitions


def write_words(
    ws: Workspace,
    server: RedisServer,
    where: VectorKeys,
    since: Sequence[str],
    waiting: Sequence[str],
) -> None:
    """Write the words of a collection as its database knows them, unless this version has them already.

    Args:
        ws: the workspace.
        server: Redis.
        where: the version's keys.
        since: for each partition, the place in the stream of changes from which on readers must follow.
        waiting: ids that were written without the database since it knew of them; read after `since`.

    Raises:
        BackendUnavailable: if Redis does not answer.
        StorageFull: if it is at its memory limit.
    """
    partitions = range(where.partitions)
    if all(server.run([("HEXISTS", where.texts(p), SINCE) for p in partitions])):
        return
    server.run([("UNLINK", key(p)) for p in partitions for key in (where.words, where.texts)])
    items = RedisItems(server, where.collection, where.partitions)
    with _one_state(ws):
        texts = _texts(ws, items, waiting)
        places = np.concatenate([part.rowids for part in texts])
        counts = _write_tokens(ws, server, where, places)
    commands: list[Command] = []
    for partition, part in enumerate(texts):
        key = where.texts(partition)
        commands += [("HSET", key, number, body) for number, body in enumerate(_fields(part))]
        commands.append(("HSET", key, COUNT, len(part.rowids), TOKENS, counts[partition]))
        commands.append(("HSET", key, SINCE, since[partition]))
    server.run(commands)


@contextmanager
def _one_state(ws: Workspace) -> Iterator[None]:
    """Let all that is read inside belong to one state of the database."""
    connection = ws.db.conn
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.rollback()


def _texts(ws: Workspace, items: RedisItems, waiting: Sequence[str]) -> list[Texts]:
    """Return the texts of each partition, less those that Redis has another content of."""
    owner = collection_rowid(ws, items.collection)
    rowids, lengths = text_lengths(ws, owner)
    newer = set(waiting)
    there = {id: item.rowid for id, item in items.get(waiting).items()}
    ids = ws.fetch("SELECT rowid, id FROM items WHERE collection = ?", (items.collection,))
    place = {rowid: items.place(id) for rowid, id in ids if id not in newer or there.get(id) == rowid}
    partition = np.array([place.get(rowid, -1) for rowid in rowids.tolist()], dtype=np.int64)
    owners = ws.fetch("SELECT item, rowid FROM segments WHERE collection = ? ORDER BY item, rowid", (owner,))
    pairs = np.array(owners, dtype=np.int64).reshape(-1, 2)
    parts = []
    for number in range(items.partitions):
        chosen = partition == number
        own = rowids[chosen]
        keys = pairs[np.isin(pairs[:, 0], own)]
        segments = np.searchsorted(keys[:, 0], own, "right") - np.searchsorted(keys[:, 0], own, "left")
        parts.append(Texts(own, lengths[chosen], segments, keys[:, 1]))
    return parts


def _fields(texts: Texts) -> Iterator[bytes]:
    ends = np.concatenate([[0], np.cumsum(texts.segments)])
    for start in range(0, len(texts.rowids), TEXTS_A_FIELD):
        part = slice(start, min(start + TEXTS_A_FIELD, len(texts.rowids)))
        keys = texts.keys[ends[part.start] : ends[part.stop]]
        yield Texts(texts.rowids[part], texts.lengths[part], texts.segments[part], keys).to_bytes()


def _write_tokens(
    ws: Workspace, server: RedisServer, where: VectorKeys, rowids: NDArray[np.int64]
) -> list[int]:
    """Write who holds each token, and return how many tokens each partition got.

    Args:
        ws: the workspace.
        server: Redis.
        where: the version's keys.
        rowids: of the items, by place.
    """
    counts = [0] * where.partitions
    waiting: list[list[bytes]] = [[] for _ in counts]
    commands: list[Command] = []
    for token, body in _holders(ws, where.collection, rowids):
        partition = partition_of_token(token, where.partitions)
        counts[partition] += 1
        fields = waiting[partition]
        fields += (token.encode(), body)
        if len(fields) >= 2 * TOKENS_A_COMMAND:
            commands.append(("HSET", where.words(partition), *fields))
            fields.clear()
        if len(commands) >= COMMANDS_IN_FLIGHT:
            server.run(commands)
            commands = []
    commands += [("HSET", where.words(p), *fields) for p, fields in enumerate(waiting) if fields]
    server.run(commands)
    return counts


def _holders(ws: Workspace, collection: str, rowids: NDArray[np.int64]) -> Iterator[tuple[str, bytes]]:
    """Yield each token with who holds it, packed."""
    view = instances_view(ws, text_index(collection_rowid(ws, collection)))
    order = np.argsort(rowids)
    cursor = ws.db.conn.execute(f"SELECT term, count(*), group_concat(doc) FROM {view} GROUP BY term")
    tokens: list[str] = []
    counts: list[int] = []
    lists: list[str] = []
    held = 0
    for token, count, docs in cursor:
        tokens.append(token)
        counts.append(count)
        lists.append(docs)
        held += count
        if len(tokens) == TOKENS_AT_ONCE or held >= MAX_OCCURRENCES:
            yield from _packed(tokens, counts, lists, rowids, order)
            tokens, counts, lists, held = [], [], [], 0
    if tokens:
        yield from _packed(tokens, counts, lists, rowids, order)


def _packed(
    tokens: Sequence[str],
    counts: Sequence[int],
    lists: Sequence[str],
    rowids: NDArray[np.int64],
    order: NDArray[np.int64],
) -> Iterator[tuple[str, bytes]]:
    """Pack the holders of some tokens, given all their occurrences."""
    total = len(rowids)
    if not total:
        return
    docs = np.fromstring(",".join(lists), dtype=np.int64, sep=",")
    at = np.minimum(np.searchsorted(rowids, docs, sorter=order), total - 1)
    places = order[at]
    known = rowids[places] == docs
    owners = np.repeat(np.arange(len(tokens)), counts)[known]
    pairs, times = np.unique(owners * total + places[known], return_counts=True)
    owners, places = np.divmod(pairs, total)
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    gaps = np.diff(places, prepend=0)
    gaps[starts] = places[starts]
    ends = [*starts[1:].tolist(), len(pairs)]
    for start, end in zip(starts.tolist(), ends, strict=True):
        yield tokens[int(owners[start])], pack_holders(gaps[start:end], times[start:end])
