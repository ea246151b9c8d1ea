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
    assert written(plain).hits == written(detailed).hits


@pytest.mark.parametrize("truncated", [True, False])
def test_an_answer_tells_what_made_it_and_how(truncated: bool) -> None:
    answer = written(result_of([]), truncated=truncated)
    assert (answer.index_version, answer.encoder_fingerprint, answer.model_version) == ("v1", "f", "m@1")
    assert (answer.partial, answer.truncated_query) == (True, truncated)
    assert answer.score_kind == search_pb2.SCORE_KIND_EXAMPLES
    assert {name: getattr(answer.timing, name) for name in TIMES} == TIMES
    assert answer.timing.batch_size == 200


def test_each_answer_has_a_name_of_its_own() -> None:
    names = {written(result_of([])).search_id for _ in range(100)}

    assert len(names) == 100
    assert "" not in names


def test_answers_that_are_alike_are_written_as_single_ones_are() -> None:
    rows = [row(number, span=(1.0, 2.0) if number % 3 else None) for number in range(600)]
    scores = np.linspace(1, -1, len(rows)).reshape(3, 200)
    times = [timing_to(**TIMES, batch_size=size) for size in (1, 20, 300)]
    writer = AnswerWriter(Origin("v1", "f", "m@1"))

    written_at_once = writer.write_alike(
        rows, scores, [(False, times[0]), (True, times[1]), (False, times[2])]
    )

    for number, data in enumerate(written_at_once):
        result = SearchResult(
            rows[200 * number : 200 * number + 200], scores[number].tolist(), ScoreKind.COSINE, 0.0, 0.0
        )
        alone = writer.write(
            result,
            score_kind=ScoreKind.COSINE,
            score_scale=1.0,
            truncated=number == 1,
            timing=times[number],
        )
        answers = [search_pb2.SearchResponse.FromString(made) for made in (data, alone)]
        for answer in answers:
            answer.ClearField("search_id")
        assert answers[0] == answers[1]
