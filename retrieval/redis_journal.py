"""What servers without a database wrote, in order, until it is in the database."""

import json
from collections.abc import Sequence

from retrieval.content import Modality
from retrieval.item_checks import Item
from retrieval.item_writes import delete_items, upsert_items
from retrieval.redis_layout import PREFIX
from retrieval.redis_server import Command, RedisServer, redis_server
from retrieval.workspace import Workspace

DRAIN_BATCH = 500


class RedisJournal:
    """A stream of writes, one for each collection."""

    def __init__(self, server: RedisServer, collection: str) -> None:
        """Look at a collection's journal."""
        self._server = server
        self._collection = collection
        self._key = f"{PREFIX}:{{{collection}}}:journal"

    def upserted(self, items: Sequence[Item]) -> None:
        """Write down that items were stored."""
        self._write([{"item": [i.id, i.modality.value, i.text, i.uri, dict(i.attributes)]} for i in items])

    def deleted(self, ids: Sequence[str]) -> None:
        """Write down that items were deleted."""
        self._write([{"deleted": id} for id in ids])

    def _write(self, entries: Sequence[dict[str, object]]) -> None:
        commands: list[Command] = [("XADD", self._key, "*", "write", json.dumps(entry)) for entry in entries]
        self._server.run(commands)

    def delete(self) -> None:
        """Forget what was written."""
        self._server.call("UNLINK", self._key)

    def waiting(self) -> dict[str, bool]:
        """Return the ids that the database does not know the last of, and whether they were deleted."""
        entries = [json.loads(body) for _, (_, body) in self._server.call("XRANGE", self._key, "-", "+")]
        return {each.get("deleted") or each["item"][0]: "deleted" in each for each in entries}

    def drain(self, ws: Workspace) -> list[str]:
        """Take the journal over into the database; return the ids that were written.

        An entry leaves the journal once the database has it: what is taken over twice changes nothing.
        """
        written: dict[str, None] = {}
        while entries := self._server.call("XRANGE", self._key, "-", "+", "COUNT", DRAIN_BATCH):
            for _, (_, body) in entries:
                entry = json.loads(body)
                if "deleted" in entry:
                    written[entry["deleted"]] = None
                    delete_items(ws, self._collection, [entry["deleted"]])
                else:
                    id, modality, text, uri, attributes = entry["item"]
                    written[id] = None
                    item = Item(id, Modality(modality), text, uri, attributes)
                    upsert_items(ws, self._collection, [item])
            self._server.call("XDEL", self._key, *[place for place, _ in entries])
        return list(written)


def drain_journal(ws: Workspace, collection: str) -> list[str]:
    """Take the journal of a collection over into the database; return the ids that were written."""
    return RedisJournal(redis_server(), collection).drain(ws)
