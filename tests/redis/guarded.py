"""Redis as docker-compose.yml starts it: the same settings, the same users, fresh passwords."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from retrieval.local_redis import LocalRedis

SETTINGS = Path(__file__).parents[2] / "deploy" / "redis"


@dataclass
class Guarded:
    """A Redis that lets in only those it knows."""

    process: LocalRedis
    admin: Any  # redis.Redis
    user: Any  # redis.Redis, as the server comes in
    url: str  # for the server, password included


def settings(name: str = "redis.conf") -> list[str]:
    """Return a file's settings as arguments, without those that are about the container."""
    arguments = []
    for line in (SETTINGS / name).read_text().splitlines():
        key, _, value = line.partition(" ")
        if value and key not in ("#", "bind", "aclfile", "include"):
            arguments += [f"--{key}", value.strip('"')]
    return arguments


def make_users(folder: Path) -> dict[str, str]:
    """Make the access list; return the passwords of the server and the administrator."""
    script = SETTINGS / "make_secrets.py"
    subprocess.run([sys.executable, str(script), "--folder", str(folder)], check=True)
    told = (folder / "single.env").read_text().strip()
    server = told.split("//twinspire:")[1].split("@")[0]
    return {"twinspire": server, "admin": (folder / "admin.password").read_text()}


@contextmanager
def guarded(folder: Path) -> Iterator[Guarded]:
    """Start it in the way of the compose file, on loopback."""
    words = make_users(folder)
    arguments = [*settings(), "--aclfile", str(folder / "users.acl")]
    with LocalRedis(*arguments) as process:
        admin = Redis(port=process.port, username="admin", password=words["admin"])
        user = Redis(port=process.port, username="twinspire", password=words["twinspire"])
        url = process.url.replace("//", f"//twinspire:{words['twinspire']}@")
        with admin, user:
            yield Guarded(process, admin, user, url)
