"""From a workspace's database to Redis: items, attributes and fresh vectors, for servers without a database.

The database is the truth. What Redis lacks of it, or has too much, is put right whenever a version goes live
and whenever a server that has the database looks.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.embeddings import embeddings_of
from retrieval.index import Keys
from retrieval.manifest import Manifest
from retrieval.redis_catalog import RedisCatalog
from retrieval.redis_changes import RedisChanges
from retrieval.redis_filters import shown_attributes
from retrieval.redis_item import RedisItem, Span
from retrieval.redis_items import FIRST_PROVISIONAL_KEY, RedisItems
from retrieval.redis_journal import RedisJournal
from retrieval.redis_layout import REDIS_FILE, vector_keys
from retrieval.redis_server import RedisServer, redis_server
from retrieval.redis_vectors import RedisVectors
from retrieval.redis_words import SINCE, write_words
from retrieval.segments import in_windows
from retrieval.workspace import Workspace

# Attributes that get a number of their own in every element; under others, ranges are looked at twice.
MAX_NUMERIC = 64
SHARE_BATCH = 1000

_ITEMS = (
    "SELECT items.id, items.rowid, items.modality, items.text, items.uri, items.attributes, items.created_at,"
    " hex(items.digest), (SELECT json_group_array(json_array(segments.rowid, segments.start, segments.end))"
    " FROM segments WHERE segments.item = items.rowid AND {searched}) FROM "
)


class RedisSharing:
    """Keeps one build in Redis in step with a workspace."""

    def __init__(self, ws: Workspace, folder: Path, manifest: Manifest, numeric: frozenset[str]) -> None:
        """Take a version's folder."""
        server = redis_server()
        where = vector_keys((folder / REDIS_FILE).read_text())
        self._ws = ws
        self._server = server
        self._where = where
        self._collection = manifest.collection
        self._fingerprint = manifest.fingerprint
        self._built_key = manifest.built_key
        self._searched = in_windows(manifest.window_s)  # not windows for a version to come
        self._numeric = numeric
        self._journal = RedisJournal(server, manifest.collection)
        self.items = RedisItems(server, manifest.collection, where.partitions)
        self.vectors = RedisVectors(server, where, manifest.parameters, manifest.dims)

    def share_all(self) -> None:
        """Write every item and what FILTER sees of it; remove what the database does not have.

        What servers without a database wrote since is newer, and stays.
        """
        newer, after = self._journal.waiting(), 0
        while items := list(self._stored("items WHERE collection = ? AND items.rowid > ?", after)):
            self._write([item for item in items if item.id not in newer], told=False)
            after = items[-1].rowid
        self._forget_deleted(newer)
        self.drop_dead()

    def share_words(self, since: Sequence[str]) -> None:
        """Write the words of all texts, for hybrid search without a database.

        Args:
            since: marks in the stream of changes that are older than all that was shared.
        """
        write_words(self._ws, self._server, self._where, since, list(self._journal.waiting()))

    def share(self, ids: Sequence[str]) -> None:
        """Write these items and their vectors; those that the database does not have are removed.

        What servers without a database wrote since is newer, and stays.
        """
        newer = self._journal.waiting() if ids else {}
        wanted = [id for id in ids if id not in newer]
        for start in range(0, len(wanted), SHARE_BATCH):
            part = wanted[start : start + SHARE_BATCH]
            asked = json.dumps(part, ensure_ascii=False)
            items = list(
                self._stored("items WHERE collection = ? AND id IN (SELECT value FROM json_each(?))", asked)
            )
            self._write(items)
            self.forget(set(part) - {item.id for item in items})
        if wanted:
            self._forget_deleted(newer)

    def _forget_deleted(self, newer: Mapping[str, bool]) -> None:
        """Remove what was deleted without the database while it was being shared."""
        waiting = self._journal.waiting().items()
        self.forget([id for id, is_deleted in waiting if is_deleted and id not in newer])

    def forget(self, ids: Sequence[str] | set[str]) -> None:
        """Remove items and their vectors."""
        _, dead = self.items.delete(list(ids))
        self.vectors.remove(np.array(dead, dtype=np.int64))

    def drop_dead(self) -> None:
        """Remove the items that the database does not have, if the counts differ."""
        (count,) = self._ws.fetch("SELECT items FROM collections WHERE name = ?", (self._collection,))[0]
        if count == self.items.count_taken_over():
            return
        walk = (item.id for item in self.items.walk() if item.rowid < FIRST_PROVISIONAL_KEY)
        while ids := list(islice(walk, SHARE_BATCH)):
            rows = self._ws.fetch(
                "SELECT value FROM json_each(?) WHERE value NOT IN"
                " (SELECT id FROM items WHERE collection = ?)",
                (json.dumps(ids, ensure_ascii=False), self._collection),
            )
            self.forget({id for (id,) in rows})

    def catch_up(self) -> None:
        """Share what others wrote to the database since the build, and drop what they deleted."""
        rows = self._ws.fetch(
            "SELECT segments.rowid, items.id FROM segments CROSS JOIN items ON items.rowid = segments.item"
            " CROSS JOIN embeddings ON embeddings.segment = segments.rowid"
            " AND embeddings.encoder = (SELECT rowid FROM encoders WHERE fingerprint = ?)"
            f" WHERE items.collection = ? AND segments.rowid > ? AND {self._searched}",
            (self._fingerprint, self._collection, self._built_key),
        )
        there = set(self.vectors.added().tolist())
        self.share(list(dict.fromkeys(id for key, id in rows if key not in there)))
        self.drop_dead()

    def _stored(self, condition: str, *parameters: object) -> Iterator[RedisItem]:
        rows = self._ws.fetch(
            f"{_ITEMS.format(searched=self._searched)} {condition} ORDER BY items.rowid LIMIT {SHARE_BATCH}",
            (self._collection, *parameters),
        )
        for *values, segments in rows:
            yield _item(values, segments)

    def _write(self, items: Sequence[RedisItem], *, told: bool = True) -> None:
        shown = {
            span.key: shown_attributes(item.id, item.parsed, self._numeric)
            for item in items
            for span in item.segments
        }
        fresh = self._add_fresh(shown)  # before their items, which otherwise would be missed meanwhile
        dead = self.items.put(items, told=told)
        self.vectors.remove(np.array(dead, dtype=np.int64))
        old = [key for key in shown if key not in fresh]
        self.vectors.set_attributes(old, [shown[key] for key in old])

    def _add_fresh(self, shown: dict[int, str]) -> set[int]:
        """Add the vectors that came after the build; return their keys."""
        wanted: Keys = np.array(sorted(key for key in shown if key > self._built_key), dtype=np.int64)
        if not len(wanted):
            return set()
        keys, vectors = embeddings_of(self._ws, self._fingerprint, wanted)
        self.vectors.add(keys, vectors, [shown[key] for key in keys.tolist()])
        return set(keys.tolist())


def _item(values: Sequence[Any], segments: str) -> RedisItem:
    id, rowid, modality, text, uri, attributes, created_at, digest = values
    return RedisItem(
        id=id,
        rowid=rowid,
        modality=modality,
        text=text,
        uri=uri,
        attributes=attributes,
        created_at=created_at,
        digest=digest.lower(),
        segments=tuple(Span(*span) for span in json.loads(segments)),
    )


def numeric_attributes(ws: Workspace, collection: str) -> frozenset[str]:
    """Name the attributes of a collection that are numbers somewhere: at most `MAX_NUMERIC` of them."""
    rows = ws.fetch(
        "SELECT DISTINCT entry.key FROM items, json_each(items.attributes) AS entry"
        " WHERE items.collection = ? AND entry.type IN ('integer', 'real') LIMIT ?",
        (collection, MAX_NUMERIC),
    )
    return frozenset(name for (name,) in rows)


def keep(folder: Path) -> None:
    """Say that what was built in a folder becomes a version."""
    RedisCatalog(redis_server()).keep((folder / REDIS_FILE).read_text())


def check_there(folder: Path, manifest: Manifest) -> None:
    """Make sure that Redis holds a version's vectors.

    Raises:
        IndexLost: if it does not.
        BackendUnavailable: if it does not answer.
    """
    server = redis_server()
    where = vector_keys((folder / REDIS_FILE).read_text())
    vectors = RedisVectors(server, where, manifest.parameters, manifest.dims)
    vectors.check(server.run(vectors.census()))


def share_version(ws: Workspace, collection: str, version: str, manifest: Manifest) -> None:
    """Publish a version of a workspace to Redis, with all items, so that it can go live there. Idempotent.

    Raises:
        BackendUnavailable: if Redis does not answer.
        FailedPrecondition: if the collection lies in another number of partitions there.
        IndexLost: if Redis no longer holds the version's vectors.
        StorageFull: if Redis is at its memory limit.
    """
    folder = ws.indexes / collection / version
    catalog = RedisCatalog(redis_server())
    catalog.claim_partitions(collection, manifest.parameters.partitions)
    check_there(folder, manifest)
    # Only ever more of them: servers that have the version open filter by those that they know.
    published = catalog.versions(collection)
    numeric = numeric_attributes(ws, collection) | published.get(version, frozenset())
    changes = RedisChanges(redis_server(), collection, manifest.parameters.partitions)
    since = changes.mark()
    sharing = RedisSharing(ws, folder, manifest, numeric)
    sharing.share_all()
    sharing.share_words(since)
    files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    catalog.publish(collection, version, files, sorted(numeric))
    changes.mark(_oldest_words(catalog, collection, since))
    sharing.items.changed()
    catalog.sweep()


def _oldest_words(catalog: RedisCatalog, collection: str, since: Sequence[str]) -> list[str]:
    """Return for each partition from where on the words of some version follow the changes."""
    oldest = list(since)
    for version in catalog.versions(collection):
        where = catalog.vector_keys(collection, version)
        replies = redis_server().run([("HGET", where.texts(p), SINCE) for p in range(where.partitions)])
        told = [reply.decode() if reply else at for reply, at in zip(replies, oldest, strict=True)]
        oldest = [min(pair, key=_stream_place) for pair in zip(told, oldest, strict=True)]
    return oldest


def _stream_place(place: str) -> tuple[int, ...]:
    return tuple(int(part) for part in place.split("-"))


def go_live(collection: str, version: str, expected: str | None) -> None:
    """Switch the alias in Redis.

    Raises:
        VersionMoved: if another one is live there than `expected`.
    """
    RedisCatalog(redis_server()).flip(collection, version, expected)


def discard(folder: Path) -> None:
    """Free a version's vectors in Redis once no server can be searching them any more.

    Raises:
        BackendUnavailable: if Redis does not answer.
    """
    body = (folder / REDIS_FILE).read_text()
    RedisCatalog(redis_server()).discard(vector_keys(body).collection, folder.name, body)


def open_sharing(ws: Workspace, version: str, manifest: Manifest) -> RedisSharing:
    """Keep a version that was opened in step with its workspace."""
    server: RedisServer = redis_server()
    numeric = RedisCatalog(server).versions(manifest.collection).get(version, frozenset())
    return RedisSharing(ws, ws.indexes / manifest.collection / version, manifest, numeric)
