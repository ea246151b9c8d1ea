"""Running jobs that are killed at a failpoint, and telling what they left behind."""

import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from retrieval.failpoints import FAILPOINT_VARIABLE
from retrieval.text_search import lexical_search
from retrieval.workspace import DATABASE_FILE, Workspace

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).with_name("programs.py")

# Columns that tell when or by which process something was done, rather than what.
_TIMES = {"created_at", "updated_at", "changed_at", "applied_at"}
_WHAT = ("collections", "items", "segments", "embeddings", "queries", "qrels", "encoders")


def run(job: str, root: Path, failpoint: str = "") -> int:
    """Run a job of `programs.py`; return its exit status, negative = the signal that ended it."""
    environment = os.environ | {FAILPOINT_VARIABLE: failpoint, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(PROGRAMS), job, str(root)]
    return subprocess.run(command, env=environment, check=False, capture_output=True).returncode


def kill(job: str, root: Path, failpoint: str) -> None:
    """Run a job that must be killed at a failpoint."""
    assert run(job, root, failpoint) == -signal.SIGKILL


def finish(job: str, root: Path) -> None:
    """Run a job that must succeed."""
    assert run(job, root) == 0


def copy(root: Path, name: str) -> Path:
    """Copy a workspace that is closed."""
    return Path(shutil.copytree(root, root.with_name(name)))


def digest(root: Path) -> str:
    """Digest all that the database holds of items and vectors, rowids included, but no times."""
    result = hashlib.sha256()
    with closing(sqlite3.connect(root / DATABASE_FILE)) as db:
        for table in _WHAT:
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[1] not in _TIMES]
            names = ", ".join(columns)
            for row in db.execute(f"SELECT {names} FROM {table} ORDER BY {names}"):
                result.update(repr(row).encode())
    return result.hexdigest()


def check_consistency(ws: Workspace, collection: str) -> None:
    """Check that counts, segments, vectors and the full-text index agree with the items."""
    assert ws.fetch("PRAGMA integrity_check") == [("ok",)]
    assert ws.fetch("PRAGMA foreign_key_check") == []
    (count,) = ws.fetch("SELECT count(*) FROM items WHERE collection = ?", (collection,))[0]
    assert ws.fetch("SELECT items FROM collections WHERE name = ?", (collection,)) == [(count,)]
    assert not ws.fetch("SELECT 1 FROM items WHERE rowid NOT IN (SELECT item FROM segments)")
    for rowid, text in ws.fetch("SELECT rowid, text FROM items WHERE collection = ?", (collection,)):
        found = lexical_search(ws, collection, text, 10_000, exact=True)
        assert rowid in {item for item, _, _ in found}
