"""The fields of a training's config, as options on the command line."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

ConfigT = TypeVar("ConfigT")


@dataclass(frozen=True, slots=True)
class TrainingOption:
    """A field of a training's config on the command line.

    Options are left out unless given, so that the defaults stay in one place; a test holds the ones that
    the help tells to those of the config.
    """

    field: str
    kind: Any
    default: str  # as the help shows it
    help: str
    flags: str = ""  # other than --field

    def decorator(self) -> Callable[[Any], Any]:
        """Make the click option."""
        flags = self.flags or "--" + self.field.replace("_", "-")
        return click.option(
            flags, self.field, type=self.kind, default=None, help=f"{self.help}  [default: {self.default}]"
        )


def choice(*names: str) -> click.Choice[str]:
    """Name what an option may be."""
    return click.Choice(names)


def with_options(options: Sequence[TrainingOption]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add every field of a config as an option."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option.decorator()(command)
        return command

    return decorate


def config_from(config_class: Callable[..., ConfigT], given: Mapping[str, Any]) -> ConfigT:
    """Make a config of the options that were given, with its own defaults for the others."""
    return config_class(**{name: value for name, value in given.items() if value is not None})
