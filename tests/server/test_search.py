from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import field_mask_pb2

from protos.twinspire.v1 import content_pb2, filters_pb2, items_pb2, search_pb2
from retrieval.collections import create_collection
from retrieval.errors import CollectionNotFound
from retrieval.item_writes import upsert_items
from retrieval.items import Item
from retrieval.publishing import promote
from server.local import LocalSearch
from tests.server.running import TIMEOUT_S, Running
from tests.server.test_pipeline import until
from tests.server.workspaces import COLLECTION, build_version, direction, make_workspace


def vector(word: str) -> content_pb2.DenseVector:
    return content_pb2.DenseVector(f32le=direction(word).tobytes())


def test_a_text_finds_the_items_that_mean_it(shared: Running) -> None:
    assert shared.ids("north", limit=2) == ["north", "north-east"]


def test_a_vector_finds_the_nearest_items(shared: Running) -> None:
    assert shared.ids(query=search_pb2.Query(vector=vector("blue")), limit=1) == ["blue"]


def test_ten_hits_are_returned_unless_told_otherwise(shared: Running) -> None:
    assert len(shared.ids("north")) == 10


def test_hits_are_ranked_from_one_by_descending_score(shared: Running) -> None:
    hits = shared.find("north").hits

    assert [hit.rank for hit in hits] == list(range(1, 11))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_equal_scores_are_ordered_by_id(shared: Running) -> None:
    hits = shared.find("east", limit=3).hits

    assert [hit.id for hit in hits] == ["east", "east-south", "north-east"]
    assert hits[1].score == pytest.approx(hits[2].score)


def test_a_hit_holds_text_and_attributes(shared: Running) -> None:
    (hit,) = shared.find("north", limit=1).hits

    assert (hit.text, hit.attributes["length"]) == ("north", 5)


def test_an_attribute_mask_leaves_the_other_attributes_out(shared: Running) -> None:
    mask = field_mask_pb2.FieldMask(paths=["other"])

    (hit,) = shared.find("north", limit=1, attribute_mask=mask).hits

    assert not hit.attributes.fields


def test_an_answer_says_what_made_it(shared: Running) -> None:
    answer = shared.find("north")

    assert answer.index_version.startswith("000001-")
    assert answer.model_version == "compass@1"
    assert len(answer.encoder_fingerprint) == 64
    assert answer.score_kind == search_pb2.SCORE_KIND_COSINE


def test_an_answer_says_where_the_time_went(shared: Running) -> None:
    timing = shared.find("north").timing

    assert timing.encode_ms > 0
    assert timing.total_ms >= timing.encode_ms + timing.search_ms
    assert timing.batch_size >= 1


def test_each_answer_has_a_name_of_its_own(shared: Running) -> None:
    assert shared.find("north").search_id != shared.find("north").search_id


def test_more_like_an_item_leaves_the_item_out(shared: Running) -> None:
    assert shared.ids(query=search_pb2.Query(item_id="north"), limit=1) == ["north-east"]


def test_examples_pull_and_push(shared: Running) -> None:
    examples = search_pb2.ExampleQuery(
        positives=[search_pb2.Example(text="north"), search_pb2.Example(vector=vector("east"))],
        negatives=[search_pb2.Example(item_id="south")],
    )

    answer = shared.find(query=search_pb2.Query(examples=examples), limit=3)

    assert answer.hits[0].id == "north-east"
    assert answer.score_kind == search_pb2.SCORE_KIND_EXAMPLES
    assert "south" not in [hit.id for hit in answer.hits]


def test_the_score_of_examples_is_the_difference_of_mean_cosines(shared: Running) -> None:
    examples = search_pb2.ExampleQuery(
        positives=[search_pb2.Example(text="north", weight=3), search_pb2.Example(text="far")],
        negatives=[search_pb2.Example(text="east")],
    )

    answer = shared.find(query=search_pb2.Query(examples=examples), limit=2)

    scores = {hit.id: hit.score for hit in answer.hits}
    assert scores["north"] == pytest.approx(0.75)


def test_a_threshold_is_in_the_unit_of_the_scores(shared: Running) -> None:
    examples = search_pb2.ExampleQuery(
        positives=[search_pb2.Example(text="north"), search_pb2.Example(text="far")]
    )
    query = search_pb2.Query(examples=examples)

    assert shared.ids(query=query, score_threshold=0.45) == ["far", "north"]


def test_a_hybrid_query_scores_by_fusion(shared: Running) -> None:
    query = search_pb2.Query(hybrid=search_pb2.HybridQuery(text="north"))

    answer = shared.find(query=query, limit=1)

    assert answer.score_kind == search_pb2.SCORE_KIND_FUSED
    assert answer.hits[0].id == "north"


def test_a_filter_restricts_the_hits(shared: Running) -> None:
    condition = filters_pb2.Condition(
        range=filters_pb2.Range(attribute="length", lte=filters_pb2.Value(int_value=2))
    )

    assert shared.ids("north", filter=filters_pb2.Filter(must=[condition])) == ["up"]


def test_vectors_are_returned_when_asked_for(shared: Running) -> None:
    (hit,) = shared.find("north", limit=1, with_vector=True).hits

    assert hit.vector.f32le == direction("north").tobytes()


def test_an_empty_filter_and_a_zero_diversity_change_nothing(shared: Running) -> None:
    plain = shared.ids("north")

    assert shared.ids("north", filter=filters_pb2.Filter()) == plain
    assert shared.ids("north", diversity=search_pb2.Diversity(weight=0)) == plain


def test_a_version_may_be_named(shared: Running) -> None:
    version = shared.find("north").index_version

    assert shared.find("north", index_version=version).index_version == version


def test_the_expected_encoder_is_accepted(shared: Running) -> None:
    fingerprint = shared.find("north").encoder_fingerprint

    assert shared.ids("north", limit=1, expected_encoder_fingerprint=fingerprint) == ["north"]


def test_searching_in_process_gives_the_servers_answer(shared: Running) -> None:
    request = search_pb2.SearchRequest(collection=COLLECTION, query=search_pb2.Query(text="north"))

    with LocalSearch(shared.ws) as local:
        answer = local.search(request)

    assert answer.hits == shared.search.Search(request, timeout=TIMEOUT_S).hits


def test_an_explained_hit_says_how_it_was_found(shared: Running) -> None:
    (hit,) = shared.find("north", limit=1, explain=True).hits

    assert hit.explanation.source == "index"
    assert hit.explanation.dense_score == pytest.approx(1.0)
    assert hit.explanation.plan


def test_an_explained_hybrid_hit_tells_both_scores(shared: Running) -> None:
    query = search_pb2.Query(hybrid=search_pb2.HybridQuery(text="north"))

    (hit,) = shared.find(query=query, limit=1, explain=True).hits

    assert hit.explanation.lexical_score > 0
    assert hit.explanation.dense_score == pytest.approx(1.0)


def test_an_unexplained_hit_says_nothing_of_it(shared: Running) -> None:
    assert not shared.find("north", limit=1).hits[0].HasField("explanation")


def test_a_span_is_told_for_a_part_of_a_long_item(
    tmp_path: Path, start_server: Callable[..., Running]
) -> None:
    with make_workspace(tmp_path / "short", max_words=4) as ws:
        running = start_server(ws)
        text = "up up up up. down down down down. far far far far."
        running.upsert(items_pb2.Item(id="long", text=text))

        hits = {hit.id: hit for hit in running.find("far", limit=3).hits}

    span = hits["long"].span
    assert "far" in text[int(span.start) : int(span.end)]
    assert not hits["far"].HasField("span")


def test_one_batch_may_ask_several_collections(running: Running) -> None:
    create_collection(running.ws, "second")
    upsert_items(running.ws, "second", [Item("only", text="north")])
    promote(running.ws, "second", build_version(running.ws, collection="second"))
    until(lambda: "second" in running.server.live.served)
    requests = [
        search_pb2.SearchRequest(collection=name, query=search_pb2.Query(text="north"), limit=1)
        for name in ("second", COLLECTION, "second")
    ]

    answer = running.search.BatchSearch(search_pb2.BatchSearchRequest(requests=requests), timeout=TIMEOUT_S)

    assert [result.response.hits[0].id for result in answer.results] == ["only", "north", "only"]


def test_a_search_in_process_of_an_unknown_collection_fails_as_the_servers_does(shared: Running) -> None:
    request = search_pb2.SearchRequest(collection="nowhere", query=search_pb2.Query(text="north"))

    with LocalSearch(shared.ws) as local, pytest.raises(CollectionNotFound):
        local.search(request)
