"""Where the tensors of encoders are computed, and how finely.

Bfloat16 is used where the hardware computes in it (twice as fast and a thousandth off), else float32. The
fingerprint does not tell them apart: docs/decisions/100-precision.md says why, and how far they differ.
"""

from typing import TYPE_CHECKING

from retrieval.device import DeviceNotThere, chosen_device
from retrieval.errors import InvalidInput

if TYPE_CHECKING:
    import torch

PRECISIONS = ("auto", "float32")
CPU_BF16 = ("avx512_bf16", "amx_bf16")  # as torch names what a CPU can do


def device() -> "torch.device":
    """Return where to compute. Imports torch.

    Raises:
        DeviceNotThere: if a GPU was asked for and none can be used.
    """
    import torch

    chosen = chosen_device()
    there = torch.cuda.is_available() if chosen != "cpu" else False
    if chosen == "cuda" and not there:
        raise DeviceNotThere("--device cuda: no GPU that torch can use; check the driver and torch's build")
    return torch.device("cuda" if there else "cpu")


def dtype(precision: str = "auto") -> "torch.dtype":
    """Return how finely to compute on the device.

    Args:
        precision: as an encoder's card says: `auto`, or `float32` where nothing less will do.

    Raises:
        DeviceNotThere: as `device` does.
        InvalidInput: if there is no such precision.
    """
    import torch

    check_precision(precision)
    where = device()
    if precision == "float32":
        return torch.float32
    if where.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    can = torch.cpu.get_capabilities()
    return torch.bfloat16 if any(can.get(name) for name in CPU_BF16) else torch.float32


def check_precision(precision: str) -> None:
    """Refuse what is no precision.

    Raises:
        InvalidInput: if it is not.
    """
    if precision not in PRECISIONS:
        raise InvalidInput(
            f"precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}", field="precision"
        )


def free_memory() -> int:
    """Return about how many bytes are free on the device."""
    import torch

    where = device()
    if where.type == "cuda":
        return int(torch.cuda.mem_get_info(where)[0])
    return _free_ram()


def _free_ram() -> int:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 1 << 30  # not Linux: a guess that is safe; what does not fit is halved
