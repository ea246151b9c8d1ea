"""Checks of everything that a user may have got wrong, each with what mends it."""

import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.errors import TwinspireError, Unauthenticated
from twinspire.checks import Check
from twinspire.machine_checks import (
    EXTRAS,
    check_disk,
    check_extra,
    check_faiss,
    check_python,
    check_sqlite,
)
from twinspire.redis_checks import check_redis
from twinspire.workspace_checks import check_workspace

if TYPE_CHECKING:
    from twinspire.client import Client


def examine(root: Path, target: str, connect: "Callable[..., Client]") -> Iterator[Check]:
    """Check this machine, a workspace, and whoever listens at host:port, in that order."""
    yield check_python()
    yield check_sqlite()
    for extra in EXTRAS:
        yield check_extra(extra)
    yield check_faiss()
    yield check_disk(root)
    yield from _redis_checks()
    try:
        yield from check_workspace(root)
    except Exception as error:  # whatever is broken is what the doctor is there to tell
        found = f"{type(error).__name__}: {error}"
        yield Check("workspace contents", "failed", found, "this is a fault of ours: please report it")
    yield from check_keys(root)
    yield check_server(target, connect)


def _redis_checks() -> Iterator[Check]:
    try:
        yield from check_redis()
    except Exception as error:  # what answers there may be anything
        found = f"{type(error).__name__} while it was examined"
        yield Check("Redis", "failed", found, "this is a fault of ours: please report it")


def check_keys(root: Path) -> Iterator[Check]:
    """Can the keys be read, where there are any, and are they in force?"""
    from server.keys import FILE_NAME, read_keys

    if not (root / FILE_NAME).exists():
        return
    try:
        keys = read_keys(root / FILE_NAME)
    except TwinspireError as error:
        yield Check("keys", "failed", str(error), "mend it, or make it anew with `twinspire keys add`")
        return
    expired = [key.name for key in keys if key.expired(datetime.now(UTC))]
    if expired:
        remedy = f"`twinspire keys revoke {expired[0]}` clears it away"
        yield Check("keys", "warning", f"{len(keys)}, expired: {', '.join(expired)}", remedy)
    else:
        yield Check("keys", "ok", f"{len(keys)}, all in force")


def check_server(target: str, connect: "Callable[..., Client]") -> Check:
    """Who listens at host:port?"""
    host, _, port = target.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]") or "127.0.0.1", int(port)), timeout=2.0):
            pass
    except (OSError, ValueError):
        return Check("server", "ok", f"nobody listens on {target}: the port is free for `twinspire serve`")
    try:
        with connect(target, timeout_s=3.0) as client:
            info = client.server_info()
            ready = client.is_ready()
    except Unauthenticated as error:
        remedy = "give it a key that is in force, with --api-key-file or TWINSPIRE_API_KEY"
        return Check("server", "warning", f"Twinspire on {target} asks for a key: {error}", remedy)
    except TwinspireError:
        remedy = "give --tls-ca, or serve on another port: `twinspire serve --port 0` chooses one"
        return Check(
            "server", "warning", f"another program, or a server that speaks TLS, listens on {target}", remedy
        )
    found = f"Twinspire {info.version} answers on {target}"
    if ready:
        return Check("server", "ok", f"{found}, ready")
    remedy = "wait until its indexes are loaded, or build one with `twinspire index`"
    return Check("server", "warning", f"{found}, but serves no collection", remedy)
