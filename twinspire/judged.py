"""Judged queries at the prompt: which hits are relevant, and which query a line means."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from retrieval.errors import CollectionNotFound, NotFound, UnusableWorkspace
from twinspire.session import Session

if TYPE_CHECKING:
    from retrieval.judgements import JudgedQuery


@dataclass(frozen=True, slots=True)
class JudgedQueries:
    """A collection's judged queries, by text and by id."""

    queries: Sequence["JudgedQuery"] = ()
    by_text: Mapping[str, "JudgedQuery"] = field(default_factory=dict)
    by_id: Mapping[str, "JudgedQuery"] = field(default_factory=dict)

    def relevant(self, text: str) -> frozenset[str] | None:
        """Return the ids that are relevant to a text; None if it is not a judged query."""
        query = self.by_text.get(" ".join(text.split()))
        return None if query is None else relevant_ids(query)

    def meant(self, line: str, chance: random.Random) -> str:
        """Tell which query a line at the prompt means.

        Blank: a random test query. `#id`, or digits that are an id: that query. All else is the text itself.

        Raises:
            NotFound: if there is no such query.
        """
        line = line.strip()
        if not line:
            held_out = [query for query in self.queries if query.split == "test"] or self.queries
            if not held_out:
                raise NotFound("this collection has no judged queries: type what to search for")
            return chance.choice(held_out).text
        id = line.removeprefix("#")
        if id in self.by_id and (line.startswith("#") or line.isdigit()):
            return self.by_id[id].text
        if line.startswith("#") or line.isdigit():
            raise NotFound(f"there is no judged query {id!r}: a blank line takes one at random")
        return line


def relevant_ids(query: "JudgedQuery") -> frozenset[str]:
    """Return the ids of a query's relevant items."""
    return frozenset(id for id, grade in query.grades.items() if grade > 0)


def load_judged(session: Session, collection: str) -> JudgedQueries:
    """Load a collection's judged queries; none if the workspace is not here, as beside a remote server."""
    from retrieval.judgements import judged_queries

    if not session.exists:
        return JudgedQueries()
    try:
        queries = judged_queries(session.workspace(), collection)
    except (CollectionNotFound, UnusableWorkspace):
        return JudgedQueries()
    return JudgedQueries(
        queries,
        {" ".join(query.text.split()): query for query in queries},
        {query.id: query for query in queries},
    )
