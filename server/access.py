"""Who a call comes from, whether they may make it, and how many they may make.

A call carries its key as metadata, `authorization: Bearer KEY`. The key's SHA-256 is looked up among those of
the keys file; the file itself is read only when it changes.
"""

import hmac
import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from retrieval.errors import PermissionDenied, RateLimited, TwinspireError, Unauthenticated
from server.file_stamps import stamp_of
from server.keys import Key, digest_of, read_keys
from server.logs import log
from server.permissions import Permission, Role, permission_of
from server.shared_rates import SharedBucket, SharedRates

_HEADER = "authorization"
_SCHEME = "bearer"
_NOBODY = bytes(32)  # is the SHA-256 of no key


class TokenBucket:
    """Lets so many requests through a second, and a second's worth of them at once.

    A batch of more than that passes when the bucket is full, and what follows waits until it is paid off.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Start full.

        Args:
            rate: requests a second.
            clock: seconds, never going back: the time of day may jump.
        """
        self.rate = rate
        self._size = max(1.0, rate)
        self._left = self._size
        self._clock = clock
        self._filled_at = clock()

    def wait_s(self, cost: int) -> float:
        """Return after how many seconds a cost could be taken; 0 if it can be now.

        >>> bucket = TokenBucket(2.0, clock=lambda: 0.0)
        >>> bucket.wait_s(1), bucket.take(2), bucket.wait_s(1)
        (0.0, None, 0.5)
        """
        now = self._clock()
        self._left = min(self._size, self._left + (now - self._filled_at) * self.rate)
        self._filled_at = now
        return max(0.0, (min(cost, self._size) - self._left) / self.rate)

    def take(self, cost: int) -> None:
        """Take a cost, on credit if need be."""
        self._left -= cost


@dataclass(frozen=True, slots=True)
class Principal:
    """Who holds a key, as far as a call needs to know."""

    name: str
    role: Role
    digest: bytes
    expires_at: float  # seconds since the epoch; infinity for never
    bucket: TokenBucket | SharedBucket | None


class Guard:
    """Watches one method."""

    def __init__(self, access: "Access", permission: Permission) -> None:
        assert permission.role is not None
        self._access = access
        self._role = permission.role
        self._cost = permission.cost

    def admit(self, context: Any) -> Principal:
        """Return whose call it is.

        Raises:
            Unauthenticated: if it has no key that is known and in force.
            PermissionDenied: if its key may not call this method.
        """
        principal = self._access.identify(context.invocation_metadata())
        if principal.role < self._role:
            raise PermissionDenied(
                f"this needs the role {self._role.label}, the key has the role {principal.role.label}",
                needed=self._role.label,
                role=principal.role.label,
            )
        return principal

    def charge(self, principal: Principal) -> None:
        """Take what every call costs, before its message is even parsed.

        Raises:
            RateLimited: if nothing is left.
        """
        bucket = principal.bucket
        if bucket is not None:
            _refuse_above(principal, bucket, 1)
            if self._cost is None:
                bucket.take(1)

    def charge_for(self, principal: Principal, request: Message) -> None:
        """Take what a request costs where that is told by what is in it.

        Raises:
            RateLimited: if it costs more than is left.
        """
        if principal.bucket is not None and self._cost is not None:
            self.charge_count(principal, self._cost(request))

    def charge_count(self, principal: Principal, count: int) -> None:
        """Take what a request costs that is known to count for so many.

        Raises:
            RateLimited: if it costs more than is left.
        """
        bucket = principal.bucket
        if bucket is not None and self._cost is not None:
            cost = max(1, count)
            _refuse_above(principal, bucket, cost)
            bucket.take(cost)


def _refuse_above(principal: Principal, bucket: TokenBucket | SharedBucket, cost: int) -> None:
    wait_s = bucket.wait_s(cost)
    if wait_s > 0:
        raise RateLimited(
            f"the key has used up its {bucket.rate:g} requests a second",
            retry_after_s=math.ceil(wait_s * 1000) / 1000,
            subject=f"key:{principal.name}",
            rate_limit=f"{bucket.rate:g}",
        )


class Access:
    """The keys in force."""

    def __init__(self, file: Path, rate_limit: float = 0.0, shared: SharedRates | None = None) -> None:
        """Read the keys.

        Args:
            file: the keys file.
            rate_limit: requests a second of each key that has no rate of its own; 0 for no limit.
            shared: where rates are counted together with other processes.

        Raises:
            InvalidKeysFile: if it is none.
        """
        self._file = file
        self._shared = shared
        self._rate_limit = rate_limit
        self._stamp = stamp_of(file)
        self._principals: dict[bytes, Principal] = {}
        self._take_over(read_keys(file))

    def guard(self, method: str) -> Guard | None:
        """Make the guard of a method, "package.Service/Method"; None if it is open to everybody."""
        permission = permission_of(method)
        return None if permission.role is None else Guard(self, permission)

    def identify(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> Principal:
        """Find out whose key a call carries.

        Raises:
            Unauthenticated: if it has none that is known and in force.
        """
        for name, value in metadata or ():
            if name == _HEADER and isinstance(value, str):
                scheme, _, key = value.partition(" ")
                if scheme.lower() == _SCHEME:
                    return self._holder(key)
        raise Unauthenticated("expected a key, as metadata `authorization: Bearer KEY`, got none")

    def _holder(self, key: str) -> Principal:
        digest = digest_of(key)
        # How long a lookup takes tells at most of digests, of which nobody can get back to a key.
        principal = self._principals.get(digest)
        if not hmac.compare_digest(principal.digest if principal else _NOBODY, digest) or principal is None:
            raise Unauthenticated("the key is not one of those in force")
        if time.time() >= principal.expires_at:
            raise Unauthenticated("the key has expired")
        return principal

    def refresh(self) -> bool:
        """Read the file again if it changed, and tell whether the keys are new ones.

        A file that has become unreadable changes nothing: the keys last read stay in force.
        """
        stamp = stamp_of(self._file)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            keys = read_keys(self._file)
        except TwinspireError as error:
            log("keys not read, the last ones stay in force", level=logging.ERROR, why=str(error))
            return False
        self._take_over(keys)
        log("keys read", keys=len(keys))
        return True

    def _take_over(self, keys: Iterable[Key]) -> None:
        known = self._principals
        fresh = (self._principal(key, known.get(bytes.fromhex(key.digest))) for key in keys)
        self._principals = {principal.digest: principal for principal in fresh}

    def _principal(self, key: Key, before: Principal | None) -> Principal:
        """Make what is looked up for a key; who had spent their rate before has still spent it."""
        rate = self._rate_limit if key.rate_limit is None else key.rate_limit
        bucket = before.bucket if before else None
        if bucket is None or bucket.rate != rate:
            bucket = self._bucket(bytes.fromhex(key.digest), rate) if rate else None
        return Principal(
            name=key.name,
            role=key.role,
            digest=bytes.fromhex(key.digest),
            expires_at=_seconds(key.expires_at),
            bucket=bucket,
        )

    def _bucket(self, digest: bytes, rate: float) -> TokenBucket | SharedBucket:
        shared = self._shared.bucket(digest, rate) if self._shared else None
        return shared or TokenBucket(rate)


def _seconds(moment: datetime | None) -> float:
    return math.inf if moment is None else moment.astimezone(UTC).timestamp()
