"""TREC files: what is written is read again, here and by other tools."""

from pathlib import Path
from typing import Any

import ir_measures
import pytest

from evaluation.runs import RetrievalRun, ScoredItem
from evaluation.trec import read_qrels, read_run, write_qrels, write_run
from retrieval.errors import InvalidInput, UnreadableSource

TIED = RetrievalRun(
    "model@3",
    {
        "q1": [ScoredItem("b", 0.75), ScoredItem("a", 0.5), ScoredItem("z", 0.5), ScoredItem("c", 0.5)],
        "q2": [ScoredItem("naïve 猫".replace(" ", "_"), 12.5)],
    },
)


def order(run: RetrievalRun) -> dict[str, list[str]]:
    return {query: [item.id for item in ranking] for query, ranking in run.rankings.items()}


def test_a_run_survives_the_round_trip(tmp_path: Path) -> None:
    write_run(TIED, tmp_path / "run.trec")

    again = read_run(tmp_path / "run.trec")

    assert order(again) == order(TIED)
    assert again.name == "model@3"


def test_scores_survive_to_32_bits(tmp_path: Path) -> None:
    write_run(TIED, tmp_path / "run.trec")

    again = read_run(tmp_path / "run.trec")

    assert [item.score for item in again.rankings["q1"]] == pytest.approx([0.75, 0.5, 0.5, 0.5], abs=1e-6)


def test_writing_again_gives_the_same_bytes(tmp_path: Path) -> None:
    write_run(TIED, tmp_path / "one.trec")
    write_run(read_run(tmp_path / "one.trec"), tmp_path / "two.trec")

    assert (tmp_path / "one.trec").read_bytes() == (tmp_path / "two.trec").read_bytes()


@pytest.mark.parametrize(("relevant", "rank"), [("b", 1), ("a", 2), ("z", 3), ("c", 4)])
def test_other_tools_see_tied_items_in_our_order(relevant: str, rank: int, tmp_path: Path) -> None:
    write_run(TIED, tmp_path / "run.trec")
    write_qrels({"q1": {relevant: 1}}, tmp_path / "qrels.trec")

    tool: Any = ir_measures
    theirs = tool.calc_aggregate(
        [tool.RR],
        list(tool.read_trec_qrels(str(tmp_path / "qrels.trec"))),
        list(tool.read_trec_run(str(tmp_path / "run.trec"))),
    )

    assert theirs[tool.RR] == pytest.approx(1 / rank)


def test_judgements_survive_the_round_trip(tmp_path: Path) -> None:
    qrels = {"q1": {"a": 2, "b": 0}, "q2": {"c": 1}}

    write_qrels(qrels, tmp_path / "qrels.trec")

    assert read_qrels(tmp_path / "qrels.trec") == qrels


def test_an_id_with_a_blank_is_refused(tmp_path: Path) -> None:
    run = RetrievalRun("r", {"q": [ScoredItem("two words", 1.0)]})

    with pytest.raises(InvalidInput, match="'two words'"):
        write_run(run, tmp_path / "run.trec")


def test_an_id_with_a_wide_unicode_space_is_kept(tmp_path: Path) -> None:
    run = RetrievalRun("r", {"q": [ScoredItem("a\u3000b", 1.0)]})

    write_run(run, tmp_path / "run.trec")

    assert order(read_run(tmp_path / "run.trec")) == {"q": ["a\u3000b"]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q Q0 a 1 0.5", "line 2: expected 6 columns, got 5"),
        ("q Q0 a 1 high tag", "line 2: expected a number, got 'high'"),
        ("q Q0 a 1 nan tag", "line 2: expected a number, got 'nan'"),
        ("q Q0 first 2 0.5 tag", "line 2: item 'first' comes twice"),
    ],
)
def test_a_bad_line_is_named(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "run.trec").write_text(f"q Q0 first 1 0.9 tag\n{line}\n")

    with pytest.raises(UnreadableSource, match=message):
        read_run(tmp_path / "run.trec")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.trec").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(UnreadableSource, match=r"run\.trec is not a readable text file"):
        read_run(tmp_path / "run.trec")
