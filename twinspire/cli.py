"""The command line: `twinspire [--workspace DIR] COMMAND`."""

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from twinspire.complaints import complain
from twinspire.console import open_streams
from twinspire.session import Session

PROGRAM = "twinspire"
INTERRUPTED = 130  # as shells say: 128 + SIGINT
TERMINATED = 128 + signal.SIGTERM

# Command -> where it lives. A module is only loaded for its own command and for the list of all.
COMMANDS = {
    "import": "twinspire.commands.importing:import_group",
    "encoders": "twinspire.commands.encoders:encoders_group",
    "train": "twinspire.commands.train:train_group",
    "index": "twinspire.commands.index:index_command",
    "serve": "twinspire.commands.serve:serve_command",
    "keys": "twinspire.commands.keys:keys_group",
    "search": "twinspire.commands.search:search_command",
    "eval": "twinspire.commands.evaluate:eval_command",
    "probe": "twinspire.commands.probe:probe_command",
    "bench": "twinspire.commands.bench:bench_group",
    "collections": "twinspire.commands.collections:collections_group",
    "versions": "twinspire.commands.versions:versions_group",
    "models": "twinspire.commands.models:models_group",
    "runs": "twinspire.commands.runs:runs_command",
    "export": "twinspire.commands.bundles:export_command",
    "import-bundle": "twinspire.commands.bundles:import_bundle_command",
    "dead-letters": "twinspire.commands.dead_letters:dead_letters_command",
    "roots": "twinspire.commands.roots:roots_group",
    "doctor": "twinspire.commands.doctor:doctor_command",
    "demo": "twinspire.commands.demo:demo_command",
    "demo-media": "twinspire.commands.demo_media:demo_media_command",
}


class LazyGroup(click.Group):
    """A group that imports a command when it is asked for, and lists them in the order of work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order in which one meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Load a command."""
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which there are."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"there is no command {args[0]!r}; there are {', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExample:\n  twinspire demo",
)
@click.option(
    "--workspace",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="TWINSPIRE_WORKSPACE",
    default=Path("workspace"),
    show_default=True,
    help="The folder that holds the database, the models and the indexes.",
    show_envvar=True,
)
@click.option(
    "--redis-url",
    metavar="URL",
    help="Where Redis is, for indexes that lie there. Others on this machine see it here: rather set"
    " TWINSPIRE_REDIS_URL, or TWINSPIRE_REDIS_URL_FILE to a file that holds it.",
)
@click.version_option(package_name="twinspire", prog_name=PROGRAM)
@click.pass_context
def cli(ctx: click.Context, workspace: Path, redis_url: str | None) -> None:
    """Search your own documents with an encoder trained on them.

    Import documents, train an encoder on judged queries, build an index, serve it over gRPC, and measure
    how good the answers are. `twinspire demo` does all of it on a real corpus.
    """
    ctx.obj.root = workspace
    if redis_url:
        os.environ["TWINSPIRE_REDIS_URL"] = redis_url  # for this process and those it starts


class Terminated(KeyboardInterrupt):
    """SIGTERM came: what this command started ends with it, as after Ctrl-C."""


def _raise_terminated(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
    raise Terminated


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line: exit 0, 1 with `Error: ...`, 130 after Ctrl-C, 143 after SIGTERM."""
    signal.signal(signal.SIGTERM, _raise_terminated)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its faults reach us as errors, and are told once
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    session = Session()
    open_streams()
    try:
        result: Any = cli.main(list(arguments), prog_name=PROGRAM, standalone_mode=False, obj=session)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except (KeyboardInterrupt, click.Abort) as error:
        click.echo(f"Interrupted. {session.on_interrupt}".rstrip(), err=True)
        by_sigterm = isinstance(error.__cause__ or error, Terminated)  # click wraps it in an Abort
        return TERMINATED if by_sigterm else INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left, as `head` does: nothing more can be said to them.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        complain(error)
        return 1
    finally:
        session.close()
