"""The command line over Redis, as a user runs it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from evaluation.bench.processes import process_tree
from retrieval.redis_server import RedisServer
from tests.server.workspaces import COLLECTION, make_workspace

CLI = [sys.executable, "-c", "from twinspire.cli import main; main()"]


def run(root: Path, *arguments: str, env: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CLI, "--workspace", str(root), *arguments],
        env=os.environ | dict(env),
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def serving(root: Path, *arguments: str) -> Iterator[str]:
    """Serve; give the address."""
    command = [*CLI, "--workspace", str(root), *arguments, "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.fixture
def root(server: RedisServer, tmp_path: Path) -> Path:
    """A workspace with items and an encoder."""
    make_workspace(tmp_path / "workspace").close()
    return tmp_path / "workspace"


def test_from_an_index_in_redis_to_a_server_that_has_only_the_models(root: Path, redis_url: str) -> None:
    indexed = run(
        root, "--redis-url", redis_url, "index", COLLECTION, "--encoder", "compass", "--backend", "redis"
    )
    elsewhere = root.parent / "elsewhere"
    shutil.copytree(root / "models", elsewhere / "models")

    with serving(elsewhere, "--redis-url", redis_url) as address:
        asked = ("search", "north", "--collection", COLLECTION, "--json")
        found = run(root, *asked, "--server", address)
        hybrid = run(root, *asked, "--hybrid", "--server", address)
    here = run(root, "--redis-url", redis_url, *asked, "--hybrid")

    assert indexed.returncode == 0, indexed.stderr
    assert json.loads(found.stdout)["hits"][0]["id"] == "north"
    assert _hits(hybrid) == _hits(here)
    assert not (elsewhere / "twinspire.db").exists()


def _hits(done: subprocess.CompletedProcess[str]) -> list[tuple[str, float]]:
    assert done.returncode == 0, done.stderr
    return [(hit["id"], round(hit["score"], 9)) for hit in json.loads(done.stdout)["hits"]]


def test_the_address_may_stand_in_a_file(root: Path, redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "address"
    file.write_text(f"{redis_url}\n")

    done = run(
        root,
        *("index", COLLECTION, "--encoder", "compass", "--backend", "redis"),
        env={"TWINSPIRE_REDIS_URL_FILE": str(file)},
    )

    assert done.returncode == 0, done.stderr


def test_without_an_address_it_says_what_to_do(root: Path) -> None:
    done = run(root, "index", COLLECTION, "--encoder", "compass", "--backend", "redis")

    assert done.returncode == 1
    assert "TWINSPIRE_REDIS_URL" in done.stderr


@pytest.mark.parametrize("place", ["127.0.0.1:1", "no.such.host.invalid:6379", "127.0.0.1:notaport"])
def test_the_password_is_never_printed(root: Path, place: str) -> None:
    url = f"redis://user:swordfish@{place}/0"

    done = run(
        root,
        *("index", COLLECTION, "--encoder", "compass", "--backend", "redis"),
        env={"TWINSPIRE_REDIS_URL": url},
    )

    assert done.returncode == 1
    assert "Error:" in done.stderr
    assert "swordfish" not in done.stdout + done.stderr


def test_a_wrong_password_is_told_without_it(root: Path, redis_url: str) -> None:
    done = run(
        root,
        *("index", COLLECTION, "--encoder", "compass", "--backend", "redis"),
        env={"TWINSPIRE_REDIS_URL": redis_url.replace("//", "//user:swordfish@")},
    )

    assert done.returncode == 1
    assert "password" in done.stderr
    assert "swordfish" not in done.stdout + done.stderr


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("stage", ["store items and vectors", "build redis"])
def test_a_benchmark_told_to_end_leaves_nothing_running(tmp_path: Path, stage: str) -> None:
    command = [*CLI, "--workspace", str(tmp_path), "bench", "redis", "--count", "50000"]
    environment = {name: value for name, value in os.environ.items() if "REDIS_URL" not in name}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stderr is not None
        while stage not in process.stderr.readline():
            assert process.poll() is None
        started = process_tree(process.pid)
        process.terminate()
        _, said = process.communicate(timeout=60)

    assert len(started) > 1, "its own Redis runs"
    assert process.returncode == 128 + signal.SIGTERM, said
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []
