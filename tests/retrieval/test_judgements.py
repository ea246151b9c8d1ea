import pytest

from retrieval.errors import InvalidId, InvalidInput
from retrieval.judgements import JudgedQuery, SplitCounts, assign_splits, judged_queries, put_judged_queries
from retrieval.workspace import Workspace


def queries(count: int, first: int = 0) -> list[JudgedQuery]:
    return [JudgedQuery(f"q{n}", f"question {n}", grades={f"d{n}": 1}) for n in range(first, first + count)]


def splits(ws: Workspace) -> dict[str, str]:
    return {query.id: query.split for query in judged_queries(ws, "c")}


def test_queries_come_back_with_their_grades(workspace: Workspace) -> None:
    query = JudgedQuery("é", "which one", "test", {"a": 2, "e\u0301": 0, "not stored yet": 1})

    assert put_judged_queries(workspace, "c", [query]) == 1
    assert judged_queries(workspace, "c") == [query]


def test_a_second_time_changes_nothing(workspace: Workspace) -> None:
    put_judged_queries(workspace, "c", queries(3))

    assert put_judged_queries(workspace, "c", queries(3)) == 0


def test_a_changed_query_is_brought_up_to_date(workspace: Workspace) -> None:
    put_judged_queries(workspace, "c", queries(2))

    changed = JudgedQuery("q1", "another question", grades={"d7": 3})

    assert put_judged_queries(workspace, "c", [changed]) == 1
    assert judged_queries(workspace, "c") == [queries(1)[0], changed]


def test_the_last_of_queries_with_the_same_id_counts(workspace: Workspace) -> None:
    put_judged_queries(workspace, "c", [JudgedQuery("q", "first"), JudgedQuery("q", "last")])

    assert [query.text for query in judged_queries(workspace, "c")] == ["last"]


def test_a_query_without_a_split_keeps_the_one_it_has(workspace: Workspace) -> None:
    put_judged_queries(workspace, "c", [JudgedQuery("q", "text", "test")])

    put_judged_queries(workspace, "c", [JudgedQuery("q", "text")])

    assert splits(workspace) == {"q": "test"}


@pytest.mark.parametrize("name", ["dev", "val", "valid", "validation"])
def test_the_names_of_the_validation_split_are_one(name: str, workspace: Workspace) -> None:
    put_judged_queries(workspace, "c", [JudgedQuery("q", "text", name)])

    assert [query.split for query in judged_queries(workspace, "c", name)] == ["validation"]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (JudgedQuery("", "text"), InvalidId),
        (JudgedQuery("q", " "), InvalidInput),
        (JudgedQuery("q", "text", "holdout"), InvalidInput),
        (JudgedQuery("q", "text", grades={"": 1}), InvalidId),
    ],
)
def test_what_is_no_judged_query_is_refused(
    query: JudgedQuery, error: type[Exception], workspace: Workspace
) -> None:
    with pytest.raises(error):
        put_judged_queries(workspace, "c", [JudgedQuery("good", "text"), query])

    assert judged_queries(workspace, "c") == []


def test_every_query_gets_a_split(workspace: Workspace) -> None:
    put_judged_queries(workspace, "c", queries(100))

    assert assign_splits(workspace, "c", test=15, validation=7) == SplitCounts(
        train=78, validation=7, test=15
    )


def test_small_sets_keep_most_queries_for_training(workspace: Workspace) -> None:
    put_judged_queries(workspace, "c", queries(20))

    assert assign_splits(workspace, "c") == SplitCounts(train=14, validation=2, test=4)


def test_a_stored_split_never_changes(workspace: Workspace) -> None:
    put_judged_queries(workspace, "c", queries(50))
    assign_splits(workspace, "c", test=10, validation=5)
    before = splits(workspace)

    put_judged_queries(workspace, "c", queries(50, first=50))
    counts = assign_splits(workspace, "c", test=12, validation=5, seed=9)

    assert before.items() <= splits(workspace).items()
    assert counts == SplitCounts(train=83, validation=5, test=12)


def test_a_files_own_split_wins(workspace: Workspace) -> None:
    put_judged_queries(workspace, "c", queries(20))
    put_judged_queries(workspace, "c", [JudgedQuery(f"q{n}", f"question {n}", "train") for n in range(20)])

    assert assign_splits(workspace, "c") == SplitCounts(train=20, validation=0, test=0)


def test_the_order_in_which_queries_came_does_not_matter(workspace: Workspace) -> None:
    put_judged_queries(workspace, "c", queries(40))
    assign_splits(workspace, "c", seed=3)
    forwards = splits(workspace)
    with workspace.atomic() as db:
        db.execute("DELETE FROM queries")

    put_judged_queries(workspace, "c", queries(40)[::-1])
    assign_splits(workspace, "c", seed=3)

    assert splits(workspace) == forwards


def test_another_seed_gives_another_assignment(workspace: Workspace) -> None:
    put_judged_queries(workspace, "c", queries(40))
    assign_splits(workspace, "c", seed=1)
    first = splits(workspace)
    with workspace.atomic() as db:
        db.execute("UPDATE queries SET split = ''")

    assign_splits(workspace, "c", seed=2)

    assert splits(workspace) != first
