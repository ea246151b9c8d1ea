"""Asking one engine several queries and showing what comes."""

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import click

from retrieval.errors import NotFound, TwinspireError
from twinspire.complaints import complain
from twinspire.console import out, print_json
from twinspire.hits import result_json, show_result
from twinspire.judged import JudgedQueries, load_judged
from twinspire.results import SearchResult
from twinspire.session import Session


@dataclass(slots=True)
class Searching:
    """A collection, and whoever answers for it."""

    session: Session
    collection: str
    search: Callable[[str], SearchResult]
    as_json: bool = False
    judged: JudgedQueries = field(init=False)

    def __post_init__(self) -> None:
        self.judged = load_judged(self.session, self.collection)

    def show(self, texts: Sequence[str], *, several: bool) -> None:
        """Search for each text and print the answers; as JSON, several make a list.

        Raises:
            TwinspireError: of the first search that fails.
        """
        answers = ((text, self.search(text), self.judged.relevant(text)) for text in texts)
        if self.as_json:
            described = [result_json(*answer) for answer in answers]
            print_json(described if several else described[0])
            return
        console = out()
        for text, result, relevant in answers:
            show_result(console, text, result, relevant)

    def ask(self, chance: random.Random) -> None:
        """Read queries at a prompt until the input ends; a search that fails does not end it."""
        with suppress(ImportError):
            import readline  # noqa: F401 - gives the prompt line editing and history
        while True:
            try:
                line = input("search> ")
            except EOFError:
                click.echo()
                return
            try:
                self.show([self.judged.meant(line, chance)], several=False)
            except NotFound as error:
                click.echo(str(error))
            except TwinspireError as error:
                complain(error)
