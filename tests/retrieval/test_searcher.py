"""The searcher: an index version, what came after it, and the rows that both stand for."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pytest

from retrieval.embeddings import encoder_row, put_embeddings
from retrieval.errors import (
    DimensionMismatch,
    InvalidFilter,
    InvalidInput,
    InvalidLimit,
    NonFiniteVector,
    ZeroVector,
)
from retrieval.filters import Filter, HasId, Match, Range
from retrieval.fusion import LearnedFusion
from retrieval.index import Keys, Vectors
from retrieval.items import Item, delete_items, upsert_items
from retrieval.publishing import open_index
from retrieval.search import (
    Diversity,
    LinearFusion,
    RrfFusion,
    ScoreKind,
    SearchParams,
    SearchResult,
    VectorQuery,
)
from retrieval.searcher import Searcher
from retrieval.segments import parse_chunking, pending_segments
from retrieval.text_search import lexical_search
from retrieval.workspace import Workspace
from tests.retrieval.index_versions import publish_vectors, unit_rows

FINGERPRINT = "f" * 64
DIMS = 8

Embed: TypeAlias = Callable[[str], Vectors]
East, North = np.eye(2, DIMS, dtype=np.float32)


def direction(text: str) -> Vectors:
    """Return a unit vector that depends on the text alone."""
    vector: Vectors = unit_rows(1, DIMS, seed=zlib.crc32(text.encode()))[0]
    return vector


def embed_pending(ws: Workspace, embed: Embed = direction) -> tuple[Keys, Vectors]:
    """Store a vector for each segment that has none."""
    encoder_row(ws, FINGERPRINT, DIMS)
    pending = pending_segments(ws, "c", FINGERPRINT, limit=10_000)
    keys = np.array([key for key, _ in pending], dtype=np.int64)
    vectors = np.array([embed(content.text) for _, content in pending], dtype=np.float32).reshape(-1, DIMS)
    put_embeddings(ws, FINGERPRINT, keys, vectors)
    return keys, vectors


def put(ws: Workspace, *ids: str, text: str = "", embed: Embed = direction, **attributes: Any) -> None:
    put_items(ws, [Item(id, text=text or f"text {id}", attributes=attributes) for id in ids], embed)


def put_items(ws: Workspace, items: Sequence[Item], embed: Embed = direction) -> None:
    upsert_items(ws, "c", items)
    embed_pending(ws, embed)


def build(ws: Workspace, **overrides: object) -> Searcher:
    """Index all that has a vector."""
    rows = ws.fetch("SELECT segment, vector FROM embeddings ORDER BY segment")
    keys = np.array([key for key, _ in rows], dtype=np.int64)
    vectors = np.array([np.frombuffer(raw, "<f4") for _, raw in rows], dtype=np.float32).reshape(-1, DIMS)
    version = publish_vectors(ws, keys, vectors, fingerprint=FINGERPRINT, **overrides)
    return Searcher(ws, "c", open_index(ws, "c", version))


def ask(searcher: Searcher, vector: Vectors, **options: Any) -> SearchResult:
    (outcome,) = searcher.search([VectorQuery(vector=vector, **options)])
    assert isinstance(outcome, SearchResult), outcome
    return outcome


def ids(result: SearchResult) -> list[str]:
    return [hit.id for hit in result.hits]


def at(*places: float) -> Vectors:
    """Return the direction with these coordinates."""
    vector = np.zeros(DIMS, dtype=np.float32)
    vector[: len(places)] = places
    vector /= np.linalg.norm(vector)
    return vector


def spread(places: Mapping[str, Sequence[float]]) -> Embed:
    """Embed each text at the place given for its first word."""
    return lambda text: at(*places[text.split()[0]])


@pytest.fixture(params=["flat", "hnsw"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_hit_shows_its_item(workspace: Workspace, kind: str) -> None:
    put(workspace, "a", text="hello", year=1990)

    (hit,) = ask(build(workspace, kind=kind), direction("hello")).hits

    assert (hit.id, hit.rank, hit.modality, hit.text, hit.uri) == ("a", 1, "text", "hello", "")
    assert hit.attributes == {"year": 1990}
    assert hit.score == pytest.approx(1.0, abs=1e-5)
    assert (hit.span, hit.vector, hit.explanation) == (None, None, None)


def test_scores_are_cosines(workspace: Workspace, kind: str) -> None:
    put(workspace, *"abcdef")

    result = ask(build(workspace, kind=kind, storage="f32"), direction("text a"))

    expected = {id: float(direction("text a") @ direction(f"text {id}")) for id in "abcdef"}
    assert {hit.id: hit.score for hit in result.hits} == pytest.approx(expected, abs=1e-5)
    assert result.score_kind is ScoreKind.COSINE


def test_a_limit_beyond_the_count_gives_fewer_hits(workspace: Workspace, kind: str) -> None:
    put(workspace, "a", "b")

    assert len(ask(build(workspace, kind=kind), East, limit=1000).hits) == 2


def test_an_empty_index_gives_no_hits(workspace: Workspace, kind: str) -> None:
    assert ask(build(workspace, kind=kind), East).hits == []


def test_ties_break_by_id(workspace: Workspace) -> None:
    put(workspace, "d", "b", "é", "a", "Z", "c", text="same")

    assert ids(ask(build(workspace), East)) == ["Z", "a", "b", "c", "d", "é"]


def test_ties_break_by_id_between_indexed_and_fresh(workspace: Workspace) -> None:
    put(workspace, "b", "d", text="same")
    searcher = build(workspace)
    put(workspace, "a", "c", text="same")
    searcher.refresh()

    assert ids(ask(searcher, East)) == ["a", "b", "c", "d"]


def test_ties_at_the_limit_break_by_id(workspace: Workspace, kind: str) -> None:
    put(workspace, *(f"{number:02}" for number in reversed(range(40))), text="same")

    assert ids(ask(build(workspace, kind=kind), East, limit=3)) == ["00", "01", "02"]


def test_one_bad_query_fails_alone(workspace: Workspace) -> None:
    put(workspace, "a", "b")
    bad = np.full(DIMS, np.nan, dtype=np.float32)

    first, second, third = build(workspace).search(
        [VectorQuery(vector=East), VectorQuery(vector=bad), VectorQuery(vector=North)]
    )

    assert isinstance(first, SearchResult)
    assert isinstance(second, NonFiniteVector)
    assert isinstance(third, SearchResult)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"vector": np.full(DIMS, np.inf, dtype=np.float32)}, NonFiniteVector),
        ({"vector": np.zeros(DIMS, dtype=np.float32)}, ZeroVector),
        ({"vector": np.ones(DIMS, dtype=np.float32)}, InvalidInput),
        ({"vector": np.ones(DIMS + 1, dtype=np.float32)}, DimensionMismatch),
        ({"vector": East, "limit": 0}, InvalidLimit),
        ({"vector": East, "limit": -1}, InvalidLimit),
        ({"vector": East, "limit": 1001}, InvalidLimit),
        ({"vector": East, "filter": Filter(must=(Match("", ("x",)),))}, InvalidFilter),
        ({"vector": East, "score_threshold": float("nan")}, InvalidInput),
        ({"vector": East, "params": SearchParams(effort=-1)}, InvalidInput),
        ({"vector": East, "params": SearchParams(effort=1 << 30)}, InvalidInput),
        ({"vector": East, "params": SearchParams(oversampling=float("inf"))}, InvalidInput),
        ({"vector": East, "params": SearchParams(oversampling=float("nan"))}, InvalidInput),
        ({"vector": East, "diversity": Diversity(weight=1.1)}, InvalidInput),
        ({"vector": East, "diversity": Diversity(candidates=-1)}, InvalidInput),
        ({"vector": East, "lexical_text": "x", "fusion": LinearFusion(alpha=2)}, InvalidInput),
        ({"vector": East, "lexical_text": "x", "fusion": RrfFusion(k=float("nan"))}, InvalidInput),
    ],
)
def test_a_bad_query_is_refused(
    workspace: Workspace, options: dict[str, Any], error: type[Exception]
) -> None:
    put(workspace, "a")

    (outcome,) = build(workspace).search([VectorQuery(**options)])

    assert type(outcome) is error


def test_no_queries_give_no_answers(workspace: Workspace) -> None:
    assert build(workspace).search([]) == []


def test_queries_of_different_limits_share_a_batch(workspace: Workspace) -> None:
    put(workspace, *"abcdef")
    searcher = build(workspace)

    outcomes = searcher.search([VectorQuery(vector=East, limit=limit) for limit in (1, 5, 3)])

    assert [len(o.hits) for o in outcomes if isinstance(o, SearchResult)] == [1, 5, 3]


def test_a_batch_answers_as_single_queries_do(workspace: Workspace, kind: str) -> None:
    put(workspace, *(f"item {number}" for number in range(200)))
    searcher = build(workspace, kind=kind)
    queries = unit_rows(40, DIMS, seed=5)

    batch = searcher.search([VectorQuery(vector=query) for query in queries])

    for query, outcome in zip(queries, batch, strict=True):
        assert isinstance(outcome, SearchResult)
        alone = ask(searcher, query)
        assert ids(outcome) == ids(alone)
        assert [hit.score for hit in outcome.hits] == pytest.approx(
            [hit.score for hit in alone.hits], abs=3e-6
        )


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


def test_segments_of_one_item_make_one_hit_with_the_best_span(workspace: Workspace) -> None:
    text = "east. north."
    upsert_items(workspace, "c", [Item("a", text=text)], chunking=parse_chunking("1:0"))
    places = {"east.": (1.0, 0.0), "north.": (0.0, 1.0)}
    embed_pending(workspace, spread(places))
    searcher = build(workspace)

    (hit,) = ask(searcher, at(0.2, 1.0)).hits

    assert hit.id == "a"
    assert hit.span is not None
    assert text[int(hit.span[0]) : int(hit.span[1])].strip() == "north."


def test_many_segments_of_one_item_do_not_hide_others(workspace: Workspace, kind: str) -> None:
    upsert_items(workspace, "c", [Item("long", text="near. " * 60)], chunking=parse_chunking("1:0"))
    upsert_items(workspace, "c", [Item(f"far {n}", text=f"far{n}") for n in range(5)])
    places = {"near.": (1.0, 0.0)} | {f"far{n}": (1.0, 1.0 + n) for n in range(5)}
    embed_pending(workspace, spread(places))

    assert ids(ask(build(workspace, kind=kind), East, limit=4)) == ["long", "far 0", "far 1", "far 2"]


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


def test_a_threshold_cuts_the_hits_off(workspace: Workspace, kind: str) -> None:
    put(workspace, *(f"{number}" for number in range(50)))
    searcher = build(workspace, kind=kind)
    scores = [hit.score for hit in ask(searcher, East, limit=50).hits]

    result = ask(searcher, East, limit=50, score_threshold=scores[7])

    assert [hit.score for hit in result.hits] == scores[:8]


def test_vectors_come_with_the_hits_when_asked_for(workspace: Workspace) -> None:
    put(workspace, "a")
    searcher = build(workspace)
    put(workspace, "b")
    searcher.refresh()

    for hit in ask(searcher, East, with_vector=True).hits:
        assert hit.vector is not None
        assert np.abs(hit.vector - direction(f"text {hit.id}")).max() < 1e-6


def test_a_mask_picks_attributes(workspace: Workspace) -> None:
    put(workspace, "a", year=1990, genre="x")

    assert ask(build(workspace), East, attribute_mask=("year", "none")).hits[0].attributes == {"year": 1990}
    assert ask(build(workspace), East, attribute_mask=()).hits[0].attributes == {}


def test_explain_tells_how_a_hit_came_about(workspace: Workspace) -> None:
    put(workspace, "a")
    searcher = build(workspace)
    put(workspace, "b")
    searcher.refresh()

    hits = ask(searcher, direction("text a"), explain=True).hits

    told = {hit.id: hit.explanation for hit in hits}
    assert told["a"] is not None
    assert told["b"] is not None
    assert told["a"]["index_version"] == searcher.version
    assert told["a"]["cosine"] == pytest.approx(1.0, abs=1e-5)
    assert (told["a"]["fresh"], told["b"]["fresh"]) == (False, True)


def test_exact_search_finds_the_true_neighbours(workspace: Workspace) -> None:
    put(workspace, *(f"{number}" for number in range(300)))
    approximate, exact = build(workspace, kind="hnsw", effort=1, m=4), build(workspace, kind="flat")

    for query in unit_rows(10, DIMS, seed=9):
        wanted = ids(ask(exact, query))
        assert ids(ask(approximate, query, params=SearchParams(exact=True))) == wanted


def test_diverse_hits_are_unlike_each_other(workspace: Workspace) -> None:
    places = {"best": (1.0, 0.1), "twin": (1.0, 0.11), "other": (1.0, -0.9)}
    for id in places:
        put(workspace, id, text=id, embed=spread(places))
    searcher = build(workspace)

    assert ids(ask(searcher, East, limit=2)) == ["best", "twin"]
    assert ids(ask(searcher, East, limit=2, diversity=Diversity(weight=0.5))) == ["best", "other"]


def test_a_hybrid_search_finds_by_words_and_by_vector(workspace: Workspace) -> None:
    places = {"apple": (1.0, 0.0), "pear": (0.9, 0.1), "stone": (0.0, 1.0)}
    for id in places:
        put(workspace, id, text=f"{id} thing", embed=spread(places))
    searcher = build(workspace)

    result = ask(searcher, East, lexical_text="stone", fusion=LinearFusion(alpha=0.4))

    assert ids(result) == ["stone", "apple", "pear"]
    assert result.score_kind is ScoreKind.FUSED


@pytest.mark.parametrize("fusion", [RrfFusion(), LinearFusion(alpha=0.5), LinearFusion()])
def test_each_fusion_puts_first_what_both_sides_prefer(
    workspace: Workspace, fusion: RrfFusion | LinearFusion
) -> None:
    places = {"apple": (1.0, 0.0), "pear": (0.5, 0.5), "stone": (0.0, 1.0)}
    for id in places:
        put(workspace, id, text=f"{id} thing", embed=spread(places))

    assert ids(ask(build(workspace), East, lexical_text="apple", fusion=fusion))[0] == "apple"


def test_weight_zero_gives_the_order_of_bm25(workspace: Workspace) -> None:
    rng = np.random.default_rng(0)
    words = [f"w{n}" for n in range(12)]
    put_items(workspace, [Item(f"{n:02}", text=" ".join(rng.choice(words, 6))) for n in range(60)])
    searcher = build(workspace)
    searcher.fusion = LearnedFusion(0.0)

    for text in ("w1", "w2 w3", "w4 w5 w6 w7"):
        expected = [id for _, id, _ in lexical_search(workspace, "c", text, 10)]
        assert ids(ask(searcher, East, lexical_text=text)) == expected


def test_words_score_the_same_in_a_large_batch_as_alone(workspace: Workspace) -> None:
    rng = np.random.default_rng(0)
    words = [f"w{n}" for n in range(12)]
    put_items(workspace, [Item(f"{n:02}", text=" ".join(rng.choice(words, 6))) for n in range(60)])
    queries = [VectorQuery(vector=East, lexical_text=" ".join(rng.choice(words, 3))) for _ in range(40)]

    alone = [ask(build(workspace), East, lexical_text=query.lexical_text) for query in queries[:5]]
    batch = build(workspace).search(queries)[:5]

    for one, many in zip(alone, batch, strict=True):
        assert isinstance(many, SearchResult)
        assert ids(one) == ids(many)


def test_a_hybrid_search_obeys_filter_limit_and_exclusions(workspace: Workspace) -> None:
    put_items(workspace, [Item(f"{n:02}", text=f"word {n}", attributes={"number": n}) for n in range(30)])
    searcher = build(workspace)

    result = ask(
        searcher,
        East,
        lexical_text="word",
        limit=5,
        filter=Filter(must=(Range(attribute="number", lt=8),)),
        exclude_ids=frozenset(["01", "02"]),
    )

    assert len(result.hits) == 5
    assert set(ids(result)) <= {"00", "03", "04", "05", "06", "07"}


def test_a_hybrid_search_without_a_known_word_is_a_vector_search(workspace: Workspace) -> None:
    put(workspace, *"abcdef")
    searcher = build(workspace)

    assert ids(ask(searcher, East, lexical_text="zzz")) == ids(ask(searcher, East))


def test_a_hybrid_search_finds_items_that_have_no_vector_yet(workspace: Workspace) -> None:
    put(workspace, "a")
    searcher = build(workspace)
    upsert_items(workspace, "c", [Item("b", text="unencoded")])

    assert set(ids(ask(searcher, East, lexical_text="unencoded"))) == {"a", "b"}


def test_a_hybrid_hit_explains_both_sides(workspace: Workspace) -> None:
    put(workspace, "a", text="apple")

    (hit,) = ask(build(workspace), East, lexical_text="apple", explain=True).hits

    assert hit.explanation is not None
    assert hit.explanation["bm25"] != 0
    assert hit.explanation["cosine"] == pytest.approx(float(direction("apple")[0]), abs=1e-5)
    assert hit.explanation["fused"] == hit.score


def test_hybrid_and_vector_queries_share_a_batch(workspace: Workspace) -> None:
    put(workspace, *"abc")

    outcomes = build(workspace).search([VectorQuery(vector=East), VectorQuery(vector=East, lexical_text="a")])

    kinds = [o.score_kind for o in outcomes if isinstance(o, SearchResult)]
    assert kinds == [ScoreKind.COSINE, ScoreKind.FUSED]
