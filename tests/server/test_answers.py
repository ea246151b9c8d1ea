"""Answers are joined from bytes, and read as if they had been made field by field."""

import numpy as np
import pytest

from protos.twinspire.v1 import search_pb2
from retrieval.search import MAX_LIMIT, Row, ScoreKind, SearchResult, hits_of
from server.translation.answers import AnswerWriter, Origin, timing_to

TIMES = {"encode_ms": 0.5, "search_ms": 1.5, "fetch_ms": 0.0, "queue_ms": 2.5, "total_ms": 4.0}


def row(number: int, span: tuple[float, float] | None = None) -> Row:
    attributes = {"number": number, "tags": ["a"]} if number % 2 else {}
    return Row(f"id-{number}", "text", "a text " * (number % 40), "", attributes, span)


def written(
    result: SearchResult, *, truncated: bool = False, scale: float = 1.0
) -> search_pb2.SearchResponse:
    data = AnswerWriter(Origin("v1", "f", "m@1")).write(
        result,
        score_kind=ScoreKind.EXAMPLES,
        score_scale=scale,
        truncated=truncated,
        search_id=b"s-1",
        timing=timing_to(**TIMES, batch_size=200),
    )
    return search_pb2.SearchResponse.FromString(data)


def result_of(rows: list[Row]) -> SearchResult:
    scores = np.linspace(1, -1, len(rows)).tolist()
    return SearchResult(rows, scores, ScoreKind.COSINE, 0.0, 0.0, partial=True)


def test_every_hit_has_its_row_score_and_rank() -> None:
    rows = [row(number) for number in range(MAX_LIMIT)]
    result = result_of(rows)
    for hit, row_, score, rank in zip(
        written(result, scale=2.0).hits, rows, result.scores, range(1, MAX_LIMIT + 1), strict=True
    ):
        assert (hit.id, hit.text, hit.rank, hit.score) == (row_.id, row_.text, rank, 2 * score)
        assert dict(hit.attributes).keys() == row_.attributes.keys()


def test_a_row_shown_twice_keeps_its_bytes_and_not_its_rank() -> None:
    shown = row(7)
    first = written(result_of([shown])).hits[0]
    assert shown.encoded
    second = written(result_of([row(3), shown])).hits[1]
    assert (first.rank, second.rank) == (1, 2)
    assert (first.id, first.text) == (second.id, second.text)


def test_hits_with_details_read_like_those_without() -> None:
    plain = result_of([row(1), row(2, span=(3.0, 9.0))])
    detailed = result_of([row(1), row(2, span=(3.0, 9.0))])
    detailed.details = hits_of(detailed.rows, detailed.scores)
    assert written(plain) == written(detailed)


@pytest.mark.parametrize("truncated", [True, False])
def test_an_answer_tells_what_made_it_and_how(truncated: bool) -> None:
    answer = written(result_of([]), truncated=truncated)
    assert (answer.index_version, answer.encoder_fingerprint, answer.model_version) == ("v1", "f", "m@1")
    assert (answer.search_id, answer.partial, answer.truncated_query) == ("s-1", True, truncated)
    assert answer.score_kind == search_pb2.SCORE_KIND_EXAMPLES
    assert {name: getattr(answer.timing, name) for name in TIMES} == TIMES
    assert answer.timing.batch_size == 200
