"""The keys file: who may call. It holds no key, only the SHA-256 of each.

A plain, fast hash is right here: a key is 32 random bytes, so nobody finds it by trying, however fast the
hash; slow, salted hashes protect passwords that people chose. A call pays under a microsecond for it.
"""

import fcntl
import hashlib
import json
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from retrieval.durable import write_durably
from retrieval.errors import Conflict, InvalidInput, NewerFormat, NotFound
from server.errors import InvalidKeysFile
from server.permissions import Role

FILE_NAME = "keys.json"
FORMAT = 1
PREFIX = "twinspire_"  # by which scanners find a key that was committed
KEY_BYTES = 32
OWNER_ONLY = 0o600
_WRITABLE_BY_OTHERS = 0o022
_MAX_FILE_BYTES = 16 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One line of the file."""

    name: str
    role: Role
    digest: str  # SHA-256 of the key, hex
    created_at: datetime
    expires_at: datetime | None = None
    rate_limit: float | None = None  # requests a second; None: as the server says; 0: unlimited

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidInput(
                f"name: expected 1 to 64 of A-Z a-z 0-9 . _ -, got {self.name[:64]!r}", field="name"
            )
        if self.rate_limit is not None and not 0 <= self.rate_limit < float("inf"):
            raise InvalidInput(
                f"rate_limit: expected requests a second, got {self.rate_limit}", field="rate_limit"
            )

    def expired(self, now: datetime) -> bool:
        """Tell whether its time is over."""
        return self.expires_at is not None and now >= self.expires_at

    def to_json(self) -> dict[str, Any]:
        """Describe it, as the file does."""
        return {
            "name": self.name,
            "role": self.role.label,
            "sha256": self.digest,
            "created_at": self.created_at.isoformat(),
            "expires_at": self.expires_at and self.expires_at.isoformat(),
            "rate_limit": self.rate_limit,
        }


def digest_of(key: str) -> bytes:
    """Hash a key.

    >>> digest_of("twinspire_example").hex()[:8]
    '06191a6a'
    """
    return hashlib.sha256(key.encode()).digest()


def read_keys(file: Path) -> tuple[Key, ...]:
    """Read a keys file.

    Raises:
        InvalidKeysFile: if it cannot be read, is not one, or others may write to it.
        NewerFormat: if a later version wrote it.
    """
    try:
        stat = file.stat()
        if stat.st_mode & _WRITABLE_BY_OTHERS:
            raise InvalidKeysFile(f"others may write to {file.name}, and so let themselves in: chmod go-w it")
        if stat.st_size > _MAX_FILE_BYTES:
            raise InvalidKeysFile(f"{file.name} has {stat.st_size} bytes, at most {_MAX_FILE_BYTES} are read")
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise InvalidKeysFile(f"{file.name} cannot be read: {error.strerror}") from None
    except ValueError:
        raise InvalidKeysFile(f"{file.name} is not JSON") from None
    if isinstance(content, dict) and isinstance(content.get("format"), int) and content["format"] > FORMAT:
        raise NewerFormat(f"{file.name} was written by a later Twinspire: upgrade")
    try:
        keys = tuple(_key_from(line) for line in content["keys"])
    except (InvalidInput, LookupError, TypeError, ValueError):
        raise InvalidKeysFile(f"{file.name} is not a keys file: `twinspire keys add` writes one") from None
    if len({key.name for key in keys}) < len(keys) or len({key.digest for key in keys}) < len(keys):
        raise InvalidKeysFile(f"{file.name} holds a name or a key twice")
    return keys


def _key_from(line: Any) -> Key:
    digest, role, rate = line["sha256"], line["role"], line.get("rate_limit")
    if not _DIGEST.fullmatch(digest) or role != role.lower() or isinstance(rate, bool | str):
        raise ValueError
    return Key(
        name=line["name"],
        role=Role[role.upper()],
        digest=digest,
        created_at=_moment(line["created_at"]),
        expires_at=_moment(line["expires_at"]) if line.get("expires_at") else None,
        rate_limit=rate,
    )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError
    return moment


def add_key(
    file: Path,
    name: str,
    role: Role,
    *,
    expires_at: datetime | None = None,
    rate_limit: float | None = None,
) -> str:
    """Make a key, add it to a file that may not be there yet, and return it: the only time it is seen.

    Raises:
        Conflict: if there is a key of this name.
        InvalidInput: if the name, the expiry or the rate is none.
        InvalidKeysFile: if the file is none.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    if expires_at is not None and expires_at <= now:
        raise InvalidInput(f"expires: expected a time to come, got {expires_at}", field="expires_at")
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    added = Key(
        name=name,
        role=role,
        digest=digest_of(key).hex(),
        created_at=now,
        expires_at=expires_at,
        rate_limit=rate_limit,
    )
    with _locked(file):
        keys = read_keys(file) if file.exists() else ()
        if any(other.name == name for other in keys):
            raise Conflict(f"there is a key {name!r} already: add another name, then revoke this one")
        _write(file, [*keys, added])
    return key


def revoke_key(file: Path, name: str) -> None:
    """Take a key out of a file.

    Raises:
        NotFound: if there is none of this name.
        InvalidKeysFile: if the file is none.
    """
    if not file.exists():
        raise NotFound(f"there is no keys file {file.name}")
    with _locked(file):
        keys = read_keys(file)
        kept = [key for key in keys if key.name != name]
        if len(kept) == len(keys):
            raise NotFound(f"there is no key {name!r}")
        _write(file, kept)


def _write(file: Path, keys: Sequence[Key]) -> None:
    content = {"format": FORMAT, "keys": [key.to_json() for key in keys]}
    write_durably(file, json.dumps(content, indent=2).encode() + b"\n", mode=OWNER_ONLY)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Let one process at a time change the file, so that none undoes what another did."""
    try:
        lock = file.with_name(f".{file.name}.lock").open("wb")
    except OSError as error:
        raise InvalidKeysFile(f"the folder of {file.name} cannot be written: {error.strerror}") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
