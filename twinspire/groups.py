"""Groups of commands with a command that is meant when none is named."""

from collections.abc import Sequence

import click

HELP = ("-h", "--help")


class ListByDefault(click.Group):
    """`versions demo` is `versions list demo`, `models --by MRR@10` is `models list --by MRR@10`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `list` where no command is named."""
        return super().parse_args(ctx, self.with_default(args))

    def with_default(self, args: Sequence[str]) -> list[str]:
        """Return the arguments with the command that they mean."""
        named = not args or args[0] in self.commands or args[0] in HELP
        return list(args) if named else ["list", *args]


class ListAlone(ListByDefault):
    """A group whose name alone lists: a word after it can only be a command."""

    def with_default(self, args: Sequence[str]) -> list[str]:
        """Return the arguments with the command that they mean."""
        if args and not args[0].startswith("-"):
            return list(args)
        return super().with_default(args) or ["list"]
