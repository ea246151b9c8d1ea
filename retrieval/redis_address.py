"""Where Redis is. The address is a secret (it may hold a password): it is never printed or stored."""

import os
from pathlib import Path

from retrieval.errors import FailedPrecondition, UnusableWorkspace

URL_VARIABLE = "TWINSPIRE_REDIS_URL"
URL_FILE_VARIABLE = "TWINSPIRE_REDIS_URL_FILE"  # for secrets that are mounted as files

_chosen_url = ""


class NoRedisAddress(FailedPrecondition):
    """Nobody said where Redis is."""

    reason = "NO_REDIS_ADDRESS"

    def __init__(self) -> None:
        super().__init__(
            f"no address of Redis: give --redis-url, or set {URL_VARIABLE} or {URL_FILE_VARIABLE}"
        )


def use_redis(url: str) -> None:
    """Take this Redis for everything that follows in this process; "" goes back to the environment."""
    global _chosen_url
    _chosen_url = url


def redis_url() -> str:
    """Return the address of Redis as it was chosen, or as the environment or a file has it; "" if none.

    Raises:
        UnusableWorkspace: if the file cannot be read.
    """
    if _chosen_url or os.environ.get(URL_VARIABLE):
        return _chosen_url or os.environ[URL_VARIABLE]
    file = os.environ.get(URL_FILE_VARIABLE, "")
    try:
        return Path(file).read_text().strip() if file else ""
    except OSError as error:
        raise UnusableWorkspace(f"the file that {URL_FILE_VARIABLE} names cannot be read") from error


def redis_is_given() -> bool:
    """Tell whether somebody said where Redis is."""
    return bool(redis_url())
