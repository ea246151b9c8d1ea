"""Noticing that the database changed."""

import threading

from retrieval.workspace import Workspace


class ChangeWatch:
    """Notices that the database changed, whoever changed it, for the price of a pragma."""

    def __init__(self, ws: Workspace) -> None:
        """Watch a workspace."""
        self._ws = ws
        self._seen = threading.local()
        self._lock = threading.Lock()
        self._generation = 0

    def generation(self) -> int:
        """Return a number that differs from the last one if anything was written since then."""
        # SQLite tells a connection about the commits of all others, and counts its own changes.
        connection = self._ws.db.conn
        token = (self._ws.fetch("PRAGMA data_version")[0][0], connection.total_changes)
        if getattr(self._seen, "token", None) != token:
            self._seen.token = token
            with self._lock:
                self._generation += 1
        return self._generation
