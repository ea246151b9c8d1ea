"""Jobs: offline work that is recorded as it goes, and taken up again if it was interrupted."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from retrieval.database import Database
from retrieval.workspace import Workspace, now


@dataclass(slots=True, kw_only=True)
class Job:
    """A piece of offline work that survives being killed: it tells how far it came."""

    ws: Workspace
    id: int
    kind: str
    collection: str
    spec: Mapping[str, Any]
    position: Any = None  # where to go on; None = at the beginning
    counts: dict[str, int] = field(default_factory=dict)
    resumed: bool = False

    def advance(self, position: Any, counts: Mapping[str, int] | None = None) -> None:
        """Record how far the work came; inside `ws.atomic()` it is recorded with the work, or not at all."""
        self.position = position
        self.counts.update(counts or {})
        self._write("running")

    def finish(self, counts: Mapping[str, int] | None = None) -> None:
        """Record that the work is done."""
        self.counts.update(counts or {})
        self._write("done")

    def fail(self) -> None:
        """Record that the work cannot be done: it will not be resumed."""
        self._write("failed")

    def _write(self, state: str) -> None:
        with self.ws.atomic() as db:
            db.execute(
                "UPDATE jobs SET state = ?, position = ?, counts = ?, updated_at = ? WHERE rowid = ?",
                (state, json.dumps(self.position), json.dumps(self.counts), now(), self.id),
            )


def start_job(ws: Workspace, kind: str, collection: str, spec: Mapping[str, Any]) -> Job:
    """Begin a job, or take up the one of the same kind, collection and spec that was not finished."""
    text = json.dumps(dict(spec), sort_keys=True)
    with ws.atomic() as db:
        rows = ws.fetch(
            "SELECT rowid, position, counts FROM jobs WHERE kind = ? AND collection = ? AND spec = ?"
            " AND state = 'running' ORDER BY rowid DESC LIMIT 1",
            (kind, collection, text),
        )
        if rows:
            id, position, counts = rows[0]
            return Job(
                ws=ws,
                id=id,
                kind=kind,
                collection=collection,
                spec=dict(spec),
                position=json.loads(position),
                counts=json.loads(counts),
                resumed=True,
            )
        return _new_job(ws, db, kind, collection, spec, text)


def _new_job(
    ws: Workspace, db: Database, kind: str, collection: str, spec: Mapping[str, Any], text: str
) -> Job:
    at = now()
    job = db.execute(
        "INSERT INTO jobs(kind, collection, spec, state, position, counts, created_at, updated_at)"
        " VALUES (?, ?, ?, 'running', 'null', '{}', ?, ?)",
        (kind, collection, text, at, at),
    )
    return Job(ws=ws, id=int(job.lastrowid or 0), kind=kind, collection=collection, spec=dict(spec))
