"""The option --device of the commands that encode or search."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from retrieval.device import DEVICES, VARIABLE, use_device

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def device_option(command: CommandT) -> CommandT:
    """Add --device, which holds for this process and those that it starts."""
    option = click.option(
        "--device",
        type=click.Choice(DEVICES),
        default="auto",
        show_default=True,
        envvar=VARIABLE,
        expose_value=False,
        callback=lambda _context, _parameter, value: use_device(value),
        help="Where to compute: auto takes a GPU for encoders if there is one; cuda, for indexes too.",
    )
    return option(command)
