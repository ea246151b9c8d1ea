"""Where vectors are computed and searched: chosen once for a process and those that it starts."""

import os

from retrieval.errors import FailedPrecondition, InvalidInput

DEVICES = ("auto", "cpu", "cuda")
VARIABLE = "TWINSPIRE_DEVICE"


class DeviceNotThere(FailedPrecondition):
    """The device that was asked for is not on this machine."""

    reason = "DEVICE_NOT_THERE"


def use_device(name: str) -> None:
    """Choose the device for encoders and indexes that are opened from now on.

    Args:
        name: `auto` takes a GPU for encoders if there is one, and the CPU for indexes; `cuda` asks for a GPU
            for both.

    Raises:
        InvalidInput: if there is no such kind of device.
    """
    os.environ[VARIABLE] = _checked(name)


def chosen_device() -> str:
    """Return the name of the chosen device.

    Raises:
        InvalidInput: if the environment names none that there is.
    """
    return _checked(os.environ.get(VARIABLE) or "auto")


def _checked(name: str) -> str:
    if name not in DEVICES:
        raise InvalidInput(f"device: expected one of {', '.join(DEVICES)}, got {name!r}", field="device")
    return name
