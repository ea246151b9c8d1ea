"""What trainings are told on the command line: a name, the fields of their configs, what belongs together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from twinspire.console import with_options

CommandT = TypeVar("CommandT", bound=Callable[..., Any])
ConfigT = TypeVar("ConfigT")

name_option = click.option("--name", required=True, help="What to call the model; versions are counted.")


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


def training_options(options: Sequence[TrainingOption]) -> Callable[[CommandT], CommandT]:
    """Add every field of a config as an option."""
    return with_options(*(option.decorator() for option in options))


def belonging_options(labels_help: str) -> Callable[[CommandT], CommandT]:
    """Let a command be told what belongs together: by --labels or --pairs, and --group-by."""
    return with_options(
        click.option("--labels", default="", help=labels_help),
        click.option(
            "--pairs",
            type=click.Path(dir_okay=False, path_type=Path),
            help="A CSV file of pairs of ids that belong together, instead of --labels.",
        ),
        click.option(
            "--group-by",
            default="",
            help="The attribute whose equal values are held out together, such as work.  [default: none]",
        ),
    )


def config_from(config_class: Callable[..., ConfigT], given: Mapping[str, Any]) -> ConfigT:
    """Make a config of the options that were given, with its own defaults for the others."""
    return config_class(**{name: value for name, value in given.items() if value is not None})
