"""Who answers a search of the command line: a server, or the workspace opened in this process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from retrieval.errors import InvalidInput
from twinspire.connection_options import Access
from twinspire.queries import SearchQuery
from twinspire.results import SearchResult
from twinspire.session import Session

Search: TypeAlias = Callable[[str, SearchQuery], SearchResult]


@contextmanager
def open_engine(session: Session, server: str | None, access: Access | None = None) -> Iterator[Search]:
    """Open what answers: the server at host:port, or with None the workspace itself.

    Both go through the same pipeline and give the same answers.
    """
    if server:
        with (access or Access()).client(server) as client:
            yield client.search
        return
    from server.local import LocalSearch
    from twinspire.answers import search_result
    from twinspire.messages import search_message

    with LocalSearch(session.workspace()) as local:
        yield lambda collection, query: search_result(local.search(search_message(collection, query)))


def the_collection(session: Session, server: str | None, access: Access, named: str | None) -> str:
    """Return the collection that was named, or the only one there is.

    Raises:
        InvalidInput: if none was named and there is not exactly one.
    """
    if named:
        return named
    if server:
        with access.client(server) as client:
            names = [collection.name for collection in client.list_collections()]
    else:
        from retrieval.collections import collection_names

        names = collection_names(session.workspace())
    if len(names) != 1:
        there = f"there are {', '.join(names)}" if names else "there is none: import something first"
        raise InvalidInput(f"name the collection with --collection; {there}", field="collection")
    return names[0]
