"""The way that is taken for searches alike, over sounds in windows: it finds what the other way finds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from indexer.indexing import index_collection
from protos.twinspire.v1 import content_pb2, search_pb2
from retrieval.content import Modality
from retrieval.workspace import Workspace
from tests.media.conftest import add, write_tones
from tests.media.simple_encoders import add_encoder
from tests.server.running import Running, failure_of, run_server

QUERIES = np.random.default_rng(0).random((8, 4)).astype("<f4")


@pytest.fixture
def running(ws: Workspace, folder: Path) -> Iterator[Running]:
    """Four songs of 20 s in windows of 2 s: many segments of few items."""
    for number in range(4):
        write_tones(folder / f"{number}.wav", *range(200 + 300 * number, 3800, 400), seconds=20 / 9)
        add(ws, Modality.AUDIO, f"{number}.wav", duration_s=20.0)
    add_encoder(ws, "pitch")
    index_collection(ws, "c", "pitch", windows_s=2)
    yield from run_server(ws)


def request(vector: Any, **fields: Any) -> search_pb2.SearchRequest:
    query = search_pb2.Query(vector=content_pb2.DenseVector(f32le=vector.tobytes()))
    return search_pb2.SearchRequest(collection="c", query=query, **{"limit": 6} | fields)


Found = list[tuple[str, float, float, float]]


def found(response: search_pb2.SearchResponse) -> Found:
    return [(hit.id, round(hit.score, 5), hit.span.start, hit.span.end) for hit in response.hits]


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_searches_alike_find_each_item_with_its_best_window(running: Running, limit: int) -> None:
    for vector in QUERIES:
        alike = found(running.search.Search(request(vector, limit=limit)))
        explained = found(running.search.Search(request(vector, limit=limit, explain=True)))

        assert alike == explained
        assert len({id for id, *_ in alike}) == len(alike) == limit


def test_moments_are_found_after_searches_alike_were(running: Running) -> None:
    before = [found(running.search.Search(request(vector))) for vector in QUERIES]
    moments = [found(running.search.Search(request(vector, moments=3))) for vector in QUERIES]
    explained = [found(running.search.Search(request(vector, moments=3, explain=True))) for vector in QUERIES]

    assert moments == explained
    assert all(len(hits) == 6 for hits in moments)
    assert [found(running.search.Search(request(vector))) for vector in QUERIES] == before


@pytest.mark.parametrize("first", [1, 3])
def test_a_batch_may_ask_for_moments_beside_searches_alike(running: Running, first: int) -> None:
    wanted = [first, 4 - first] * 4
    requests = [request(vector, moments=most) for vector, most in zip(QUERIES, wanted, strict=True)]
    for _ in range(2):
        results = running.search.BatchSearch(search_pb2.BatchSearchRequest(requests=requests)).results

        assert [found(each.response) for each in results] == [
            found(running.search.Search(request(vector, moments=most, explain=True)))
            for vector, most in zip(QUERIES, wanted, strict=True)
        ]


def test_a_search_by_vector_takes_no_aspects_even_after_searches_alike(running: Running) -> None:
    running.search.Search(request(QUERIES[0]))

    with pytest.raises(grpc.RpcError) as caught:
        running.search.Search(request(QUERIES[0], aspects={"tempo": 1.0}))

    assert failure_of(caught.value).message.startswith("aspects: expected to be asked by media or an item id")
