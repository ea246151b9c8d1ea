"""Searches among the items that a filter lets through."""

from retrieval.filters import Filter, HasId, Match, Range
from retrieval.items import Item
from retrieval.search import SearchResult, VectorQuery
from retrieval.workspace import Workspace
from tests.retrieval.searching import East, ask, build, ids, put, put_items


def test_a_filter_restricts_the_hits(workspace: Workspace, kind: str) -> None:
    put_items(workspace, [Item(f"{n:02}", text=f"text {n}", attributes={"number": n}) for n in range(60)])
    searcher = build(workspace, kind=kind)
    everything = ask(searcher, East, limit=60)

    result = ask(searcher, East, limit=10, filter=Filter(must=(Range(attribute="number", gte=20, lt=40),)))

    assert ids(result) == [id for id in ids(everything) if 20 <= int(id) < 40][:10]


def test_a_filter_holds_for_fresh_items(workspace: Workspace) -> None:
    put(workspace, "a", kind="x")
    searcher = build(workspace)
    put(workspace, "b", kind="x")
    put(workspace, "c", kind="y")
    searcher.refresh()

    assert sorted(ids(ask(searcher, East, filter=Filter(must=(Match("kind", ("x",)),))))) == ["a", "b"]


def test_a_filter_sees_changes(workspace: Workspace) -> None:
    put(workspace, "a", text="hello", kind="x")
    searcher = build(workspace)
    only_x = Filter(must=(Match("kind", ("x",)),))
    assert ids(ask(searcher, East, filter=only_x)) == ["a"]
    put(workspace, "a", text="hello", kind="y")

    assert ids(ask(searcher, East, filter=only_x)) == []


def test_filters_on_one_and_on_true_are_different(workspace: Workspace) -> None:
    put(workspace, "number", flag=1)
    put(workspace, "truth", flag=True)
    searcher = build(workspace)
    filters = [Filter(must=(Match("flag", (value,)),)) for value in (1, True)]

    together = searcher.search([VectorQuery(vector=East, filter=filter) for filter in filters])

    assert [ids(outcome) for outcome in together if isinstance(outcome, SearchResult)] == [
        ["number"],
        ["truth"],
    ]


def test_a_filter_that_matches_nothing_gives_no_hits(workspace: Workspace, kind: str) -> None:
    put(workspace, "a")

    assert ask(build(workspace, kind=kind), East, filter=Filter(must=(HasId(("zz",)),))).hits == []


def test_excluded_ids_make_room_for_others(workspace: Workspace, kind: str) -> None:
    put(workspace, *(f"{number}" for number in range(50)))
    searcher = build(workspace, kind=kind)
    nearest = ids(ask(searcher, East, limit=20))

    result = ask(searcher, East, limit=5, exclude_ids=frozenset(nearest[:10]))

    assert ids(result) == nearest[10:15]
