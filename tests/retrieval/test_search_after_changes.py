"""What was deleted, added or changed since an index was built."""

from collections.abc import Callable
from typing import Any

from retrieval.items import Item, delete_items, upsert_items
from retrieval.workspace import Workspace
from tests.retrieval.searching import East, ask, build, direction, embed_pending, ids, put


def test_a_deleted_item_is_not_found(workspace: Workspace, kind: str) -> None:
    put(workspace, *"abc")
    searcher = build(workspace, kind=kind)
    delete_items(workspace, "c", ["b"])

    assert sorted(ids(ask(searcher, direction("text b")))) == ["a", "c"]


def test_deleted_items_do_not_cost_hits(workspace: Workspace, kind: str) -> None:
    put(workspace, *(f"{number}" for number in range(200)))
    searcher = build(workspace, kind=kind)
    nearest = ids(ask(searcher, East, limit=100))
    delete_items(workspace, "c", nearest[:95])

    assert ids(ask(searcher, East, limit=5)) == nearest[95:]


def test_a_new_item_is_found_without_a_rebuild(workspace: Workspace, kind: str) -> None:
    put(workspace, *"abc")
    searcher = build(workspace, kind=kind)
    put(workspace, "new", text="something new")

    assert searcher.refresh() == 1
    assert ids(ask(searcher, direction("something new"), limit=1)) == ["new"]


def test_a_fresh_vector_is_found_at_once(workspace: Workspace) -> None:
    put(workspace, "a")
    searcher = build(workspace)
    upsert_items(workspace, "c", [Item("new", text="something new")])
    searcher.add_fresh(*embed_pending(workspace))

    assert ids(ask(searcher, direction("something new"), limit=1)) == ["new"]


def test_a_replaced_item_is_found_by_its_new_content_only(workspace: Workspace) -> None:
    put(workspace, "a", "b")
    searcher = build(workspace)
    put(workspace, "a", text="replaced")
    searcher.refresh()

    result = ask(searcher, direction("text a"))

    assert sorted(ids(result)) == ["a", "b"]
    assert next(hit.text for hit in result.hits if hit.id == "a") == "replaced"
    assert ids(ask(searcher, direction("replaced"), limit=1)) == ["a"]


def test_refreshing_forgets_fresh_vectors_that_were_deleted(workspace: Workspace) -> None:
    put(workspace, "a")
    searcher = build(workspace)
    put(workspace, "b", "c")
    searcher.refresh()
    delete_items(workspace, "c", ["b"])

    assert searcher.refresh() == 1


class Interrupted(Workspace):
    """A workspace where something happens right after a read, as another thread would do it."""

    after_reading: Callable[[], None] | None = None

    def fetch(self, sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        rows = super().fetch(sql, parameters)
        happen, self.after_reading = self.after_reading, None
        if happen is not None:
            happen()
        return rows


def test_refreshing_keeps_what_another_thread_adds_meanwhile(workspace: Workspace) -> None:
    with Interrupted(workspace.root) as ws:
        put(ws, "a")
        searcher = build(ws)
        upsert_items(ws, "c", [Item("new", text="something new")])
        ws.after_reading = lambda: searcher.add_fresh(*embed_pending(workspace))

        searcher.refresh()

        assert ids(ask(searcher, direction("something new"), limit=1)) == ["new"]


def test_changed_attributes_are_shown_at_once(workspace: Workspace) -> None:
    put(workspace, "a", text="hello", year=1990)
    searcher = build(workspace)
    ask(searcher, East)
    put(workspace, "a", text="hello", year=1991)

    assert ask(searcher, East).hits[0].attributes == {"year": 1991}


def test_what_another_process_changed_is_shown_at_once(workspace: Workspace) -> None:
    put(workspace, "a", text="hello", year=1990)
    searcher = build(workspace)
    ask(searcher, East)
    with Workspace(workspace.root) as other:
        put(other, "a", text="hello", year=1991)

    assert ask(searcher, East).hits[0].attributes == {"year": 1991}
