"""A real Redis >= 8 on this machine's loopback, for tests, demonstrations and benchmarks.

In order of preference: `redis-server` >= 8 on PATH; Docker's `redis` image; the build of Debian 13, unpacked
beside its own libraries into the cache folder and started through its own loader.
"""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from retrieval.cache import cached
from retrieval.errors import BackendUnavailable, FailedPrecondition

START_TIMEOUT_S = 20.0
MINIMUM_MAJOR = 8  # vector sets came with Redis 8
DOCKER_IMAGE = "redis:8.10.2"  # as in docker-compose.yml
DEBIAN_SUITE = "trixie"
DEBIAN_PACKAGES = (
    "redis-server",
    "redis-tools",
    "libc6",
    "libgcc-s1",
    "libstdc++6",
    "libatomic1",
    "libjemalloc2",
    "liblzf1",
    "libzstd1",
    "zlib1g",
    "libssl3t64",
    "libsystemd0",
    "libcap2",
)


class NoRedis(FailedPrecondition):
    """No Redis >= 8 can be had on this machine."""

    reason = "NO_REDIS"


def find_redis() -> list[str]:
    """Find, or fetch, a `redis-server` of version 8 or later.

    Returns:
        The command that starts it, to be followed by its arguments; just "docker" if its image is to be run.

    Raises:
        NoRedis: if there is none and none can be fetched.
    """
    if (installed := shutil.which("redis-server")) and _major([installed]) >= MINIMUM_MAJOR:
        return [installed]
    if shutil.which("docker") and _docker_answers():
        return ["docker"]
    return _unpacked_command(cached(f"redis-{DEBIAN_SUITE}", _fetch_from_debian))


def _major(command: Sequence[str]) -> int:
    answer = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"v=(\d+)\.", answer)
    return int(found[1]) if found else 0


def _docker_answers() -> bool:
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def _unpacked_command(root: Path) -> list[str]:
    loader = next(root.glob("usr/lib/*/ld-linux*.so.*"), None) or next(root.glob("usr/lib*/ld-linux*.so.*"))
    libraries = ":".join(str(folder) for folder in root.glob("usr/lib/*-linux-gnu"))
    return [str(loader), "--library-path", libraries, str(root / "usr/bin/redis-server")]


def _in_container(name: str, folder: Path) -> list[str]:
    """Return what runs Redis in Docker as ourselves, in a folder of ours, on this machine's own loopback."""
    us = f"{os.getuid()}:{os.getgid()}"
    options = ["--rm", "--network=host", f"--name={name}", f"--user={us}", f"--volume={folder}:{folder}"]
    return ["docker", "run", *options, DOCKER_IMAGE, "redis-server"]


def _fetch_from_debian(folder: Path) -> None:
    """Download and unpack Debian's build through the machine's own package configuration."""
    if not shutil.which("apt-get"):
        raise NoRedis("no redis-server >= 8 on PATH, no Docker, no apt-get: put Redis 8 on PATH")
    scratch = folder.parent
    _run(["apt-get", *_private_apt(scratch), "download", "-q", *DEBIAN_PACKAGES], cwd=scratch)
    for package in scratch.glob("*.deb"):
        _run(["dpkg-deb", "-x", str(package), str(folder)], cwd=scratch)
    if _major(_unpacked_command(folder)) < MINIMUM_MAJOR:
        raise NoRedis("the redis-server that Debian gave is older than 8")


def _private_apt(scratch: Path) -> list[str]:
    """Point apt at the suite, at the mirror that this machine uses, in a state folder of its own."""
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (scratch / folder).mkdir(parents=True)
    (scratch / "status").touch()
    options = [
        f"-oDir::State={scratch / 'state'}",
        f"-oDir::State::status={scratch / 'status'}",
        f"-oDir::Cache={scratch / 'cache'}",
        f"-oAPT::Sandbox::User={os.environ.get('USER', 'root')}",
    ]
    _run(["apt-get", *options, "update", "-q"], cwd=scratch, check=False)  # one dead source is no matter
    targets = _run(
        ["apt-get", *options, "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)"],
        cwd=scratch,
    )
    mirrors = [line.split("|")[3] for line in targets.splitlines() if line.startswith("Debian|Debian|main|")]
    if not mirrors:
        raise NoRedis(
            "this machine's package configuration names no Debian mirror: put redis-server >= 8 on PATH"
        )
    source = scratch / "suite.sources"
    source.write_text(
        f"Types: deb\nURIs: {mirrors[0]}\nSuites: {DEBIAN_SUITE}\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    )
    options += [f"-oDir::Etc::sourcelist={source}", "-oDir::Etc::sourceparts=-"]
    _run(["apt-get", *options, "update", "-q"], cwd=scratch)
    return options


def _run(command: list[str], *, cwd: Path, check: bool = True) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise NoRedis(f"{command[0]} failed while fetching Redis: {last}")
    return done.stdout


def free_port() -> int:
    """Find a port of the loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LocalRedis:
    """One Redis process on a free loopback port, in a folder of its own. Use as a context manager."""

    def __init__(self, *arguments: str) -> None:
        self.port = free_port()
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._container = ""  # its name, if it runs in Docker
        self.folder = Path(tempfile.mkdtemp(prefix="twinspire-redis-"))

    @property
    def url(self) -> str:
        """The address, as redis-py takes it."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise BackendUnavailable("this Redis is not running")
        if self._container:
            inspect = ["docker", "inspect", "--format", "{{.State.Pid}}", self._container]
            return int(subprocess.run(inspect, capture_output=True, text=True, check=True).stdout)
        return self._process.pid

    def start(self) -> None:
        """Start the server, in the folder of the run before if there was one, and wait until it listens.

        Raises:
            NoRedis: if there is no Redis >= 8.
            BackendUnavailable: if it does not listen in time.
        """
        settings = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "")
        command = find_redis()
        if command == ["docker"]:
            self._container = f"twinspire-redis-{os.getpid()}-{self.port}"
            command = _in_container(self._container, self.folder)
        with (self.folder / "redis.log").open("ab") as log_file:
            self._process = subprocess.Popen(
                [*command, *settings, *self._arguments], stdout=log_file, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=0.5):
                return
            time.sleep(0.02)
        log = (self.folder / "redis.log").read_text(errors="replace").splitlines()[-1:]
        self.stop()
        raise BackendUnavailable(f"Redis did not start on port {self.port}: {' '.join(log)}")

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        if self._process is not None:
            if self._container:  # the process here is but its client
                subprocess.run(["docker", "kill", self._container], capture_output=True, check=False)
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End the process and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:  # also when we are told to end meanwhile
            self.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
