"""A workspace: the folder that holds one deployment's database, models and indexes."""

import errno
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from retrieval.database import Database
from retrieval.errors import (
    BackendUnavailable,
    NewerFormat,
    StorageFull,
    TwinspireError,
    UnusableWorkspace,
)
from retrieval.migrations import migrations

DATABASE_FILE = "twinspire.db"
BUNDLE_FILE = "bundle.json"  # of an exported workspace, which must stay as it is
SQLITE_HEADER_BYTES = 100


def now() -> str:
    """Tell the time as ISO 8601 in UTC, for people: nothing is ever ordered by it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Workspace:
    """An open workspace. May be shared by threads: each gets a connection of its own.

    Writes go through `atomic`, reads through `db`. SQLite runs in WAL mode with synchronous=FULL, so what
    a finished `atomic` block wrote survives a crash of the process and of the machine.
    """

    mirrors_redis = False  # whether it only follows what Redis holds, and has no items of its own

    def __init__(self, root: Path, *, create: bool = False, busy_timeout_s: float = 5.0) -> None:
        """Open a workspace and bring its schema up to date.

        Raises:
            UnusableWorkspace: if there is none (and `create` is false), its database is junk, or it is a
                bundle.
            NewerFormat: if a later version of the software wrote it.
        """
        self.root = root
        self.busy_timeout_s = busy_timeout_s
        self._local = threading.local()
        # Weak: a thread's connection is closed when the thread ends.
        self._connections: weakref.WeakSet[_ThreadConnection] = weakref.WeakSet()
        self._lock = threading.Lock()
        file = root / DATABASE_FILE
        if not file.is_file() and not create:
            raise UnusableWorkspace(f"there is no workspace in {root.name!r}: import something first")
        if (root / BUNDLE_FILE).exists():
            raise UnusableWorkspace(f"{root.name!r} is a bundle: restore it with `twinspire import-bundle`")
        with translate_sqlite_errors():
            if create:
                for folder in (root, self.models, self.indexes):
                    folder.mkdir(parents=True, exist_ok=True)
            else:
                _check_length(file)
            self._migrate()

    def _migrate(self) -> None:
        applied = {migration.name for migration in migrations.applied(self.db)}
        known = {migration.name for migration in migrations._migrations}
        if applied - known:
            raise NewerFormat("the workspace was written by a later Twinspire: upgrade")
        if known - applied:
            with self.atomic():
                migrations.apply(self.db)

    @property
    def models(self) -> Path:
        """The folder of models: `models/<name>/<version>/`."""
        return self.root / "models"

    @property
    def indexes(self) -> Path:
        """The folder of index versions: `indexes/<collection>/<version>/`."""
        return self.root / "indexes"

    @property
    def db(self) -> Database:
        """This thread's connection."""
        held: _ThreadConnection | None = getattr(self._local, "held", None)
        if held is None:
            with translate_sqlite_errors():
                held = _ThreadConnection(self._connect())
            with self._lock:
                self._connections.add(held)
            self._local.held = held
        return held.db

    def fetch(self, sql: str, parameters: Sequence[object] | dict[str, object] = ()) -> list[tuple[Any, ...]]:
        """Run a reading statement and return all its rows.

        Raises:
            BackendUnavailable: if the database is locked or cannot be read.
            UnusableWorkspace: if it is damaged.
        """
        connection = self.db.conn
        try:
            return connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise _translated(error) from error

    def _connect(self) -> sqlite3.Connection:
        file = self.root / DATABASE_FILE
        try:
            return self._configured(str(file), "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
                raise
            log = file.with_name(f"{file.name}-wal")
            if os.access(self.root, os.W_OK) or (log.exists() and log.stat().st_size):
                raise
            # A read-only folder cannot hold the shared memory of WAL mode; nobody can write there either.
            return self._configured(f"{file.absolute().as_uri()}?mode=ro&immutable=1", "")

    def _configured(self, database: str, pragmas: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            database,
            uri=database.startswith("file:"),
            timeout=self.busy_timeout_s,
            check_same_thread=False,  # `close` may run in another thread
            cached_statements=256,
        )
        try:
            connection.executescript(
                f"{pragmas} PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;"
                # Mapping the file, or a larger cache, made no search or import faster, and a server larger.
                " PRAGMA cache_size = -8192; PRAGMA mmap_size = 0"
            )
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    @contextmanager
    def atomic(self) -> Iterator[Database]:
        """Run a block as one transaction: all of it is durable afterwards, or none of it.

        Blocks nest. The outermost takes the write lock at once, waiting up to the busy timeout.

        Raises:
            BackendUnavailable: if another writer held the lock for longer than the busy timeout.
            StorageFull: if the disk is full.
            UnusableWorkspace: if the workspace is read-only.
        """
        db = self.db
        with translate_sqlite_errors():
            if db.conn.in_transaction:
                with db.atomic():
                    yield db
                return
            db.conn.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.conn.execute("COMMIT")
            except BaseException:
                db.conn.rollback()
                raise

    def close(self) -> None:
        """Close every thread's connection; the workspace cannot be used again."""
        with self._lock:
            for held in list(self._connections):
                held.close()
            self._connections.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _ThreadConnection:
    """A connection that closes itself when its thread's storage is dropped."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.db = Database(connection)

    def close(self) -> None:
        self._connection.close()

    def __del__(self) -> None:
        self.close()


def _check_length(file: Path) -> None:
    """Refuse a database that was cut short: SQLite would notice only when it reads what is missing.

    Raises:
        UnusableWorkspace: if it is empty, or shorter than its own header says.
    """
    with file.open("rb") as opened:
        header = opened.read(SQLITE_HEADER_BYTES)
    page_bytes, pages = int.from_bytes(header[16:18]), int.from_bytes(header[28:32])
    page_bytes = 65536 if page_bytes == 1 else page_bytes
    logged = 0
    with suppress(FileNotFoundError):
        logged = file.with_name(f"{file.name}-wal").stat().st_size
    if logged and len(header) == SQLITE_HEADER_BYTES:
        return  # what is missing may stand in the log; asked before the length, for a checkpoint may run
    size = file.stat().st_size
    if size == 0:
        raise UnusableWorkspace(f"{DATABASE_FILE} is empty: restore it from a backup")
    if len(header) < SQLITE_HEADER_BYTES or size < page_bytes * pages:
        raise UnusableWorkspace(f"{DATABASE_FILE} is cut short: restore it from a backup")


@contextmanager
def translate_sqlite_errors() -> Iterator[None]:
    """Turn SQLite's and the file system's errors into ours, once, at the edge of the storage."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translated(error) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StorageFull("the disk is full: free some space and retry") from error
        if error.errno in (errno.EROFS, errno.EACCES):
            raise UnusableWorkspace(f"the workspace cannot be written: {os.strerror(error.errno)}") from error
        raise


def _translated(error: sqlite3.Error) -> TwinspireError | sqlite3.Error:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return BackendUnavailable("the database is locked by another writer: retry")
    if name == "SQLITE_FULL":
        return StorageFull("the disk is full: free some space and retry")
    if name.startswith("SQLITE_READONLY"):
        return UnusableWorkspace("the workspace is read-only")
    if name == "SQLITE_NOTADB":
        return UnusableWorkspace(f"{DATABASE_FILE} is not a database: restore it from a backup")
    if name.startswith("SQLITE_CORRUPT"):
        return UnusableWorkspace(f"{DATABASE_FILE} is damaged: restore it from a backup")
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_IOERR")):
        return BackendUnavailable("the database cannot be read or written now")
    return error
