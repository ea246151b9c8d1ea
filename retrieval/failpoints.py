"""Named places where a test makes the process fail, to see what is left behind.

The environment variable TWINSPIRE_FAILPOINT says where and how: `name` ends the process by SIGKILL there;
`name=nospace` raises what a full disk does, `readonly` what a read-only one does, `nomemory` what an
allocation does that fails. `name:3` means the third time, and only that; without a number it is every
time. Commas part several. It is read once, so an unset one costs a look at an empty dictionary.
"""

import errno
import os
import signal
import threading
from collections.abc import Callable

FAILPOINT_VARIABLE = "TWINSPIRE_FAILPOINT"


def failpoint(name: str) -> None:
    """Fail here if the environment names this point; otherwise do nothing."""
    if _armed:
        _pass(name)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _no_space() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _read_only() -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def _no_memory() -> None:
    raise MemoryError


ACTIONS: dict[str, Callable[[], None]] = {
    "kill": _kill,
    "nospace": _no_space,
    "readonly": _read_only,
    "nomemory": _no_memory,
}


def parse(text: str) -> dict[str, tuple[Callable[[], None], int]]:
    """Read what the variable holds: what to do at each point, and the how-manieth time (0 = every time).

    >>> {name: (action.__name__, time) for name, (action, time) in parse("a, b:2=nospace").items()}
    {'a': ('_kill', 0), 'b': ('_no_space', 2)}

    Raises:
        KeyError: if there is no such action.
    """
    armed = {}
    for part in filter(None, map(str.strip, text.split(","))):
        place, _, action = part.partition("=")
        name, _, time = place.partition(":")
        armed[name] = (ACTIONS[action or "kill"], int(time or 0))
    return armed


_armed = parse(os.environ.get(FAILPOINT_VARIABLE, ""))
_passed: dict[str, int] = {}
_lock = threading.Lock()


def _pass(name: str) -> None:
    if name not in _armed:
        return
    action, time = _armed[name]
    with _lock:
        _passed[name] = _passed.get(name, 0) + 1
        due = time in (0, _passed[name])
    if due:
        action()
