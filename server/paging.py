"""Page tokens: where a listing goes on, signed, and bound to that listing."""

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from retrieval.errors import InvalidPageToken

KEY_FILE = "page-tokens.key"
_KEY_BYTES = 32
_POSITION_BYTES = 8
_MAC_BYTES = 16


class PageTokens:
    """Makes and reads page tokens. A token is good for one listing only: one collection under one filter."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, listing: bytes, position: int) -> str:
        """Make the token that continues a listing after a position."""
        raw = position.to_bytes(_POSITION_BYTES, "big")
        return base64.urlsafe_b64encode(raw + self._mac(listing, raw)).decode()

    def read(self, listing: bytes, token: str) -> int:
        """Return the position to continue after.

        Raises:
            InvalidPageToken: if the token is forged, damaged, or of another listing.
        """
        try:
            raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error, ValueError):
            raise InvalidPageToken from None
        position, mac = raw[:_POSITION_BYTES], raw[_POSITION_BYTES:]
        if len(position) != _POSITION_BYTES or not hmac.compare_digest(mac, self._mac(listing, position)):
            raise InvalidPageToken
        return int.from_bytes(position, "big")

    def _mac(self, listing: bytes, position: bytes) -> bytes:
        digest = hashlib.sha256(listing).digest()
        return hmac.digest(self._key, digest + position, "sha256")[:_MAC_BYTES]


def listing_name(collection: str, filter: bytes) -> bytes:
    """Name a listing by what determines it."""
    return collection.encode() + b"\0" + filter


def workspace_key(root: Path) -> bytes:
    """Return the workspace's signing key, made at first use: all its servers share it.

    A read-only workspace without one gets a key for this process only.
    """
    file = root / KEY_FILE
    for _ in range(2):
        try:
            key = file.read_bytes()
            if len(key) == _KEY_BYTES:
                return key
        except OSError:
            pass
        fresh = root / f"{KEY_FILE}.{secrets.token_hex(4)}"
        try:
            fresh.touch(mode=0o600)
            fresh.write_bytes(secrets.token_bytes(_KEY_BYTES))
            os.link(fresh, file)  # fails if another server was first
        except FileExistsError:
            continue
        except OSError:
            break
        finally:
            with contextlib.suppress(OSError):
                fresh.unlink()
    return secrets.token_bytes(_KEY_BYTES)
