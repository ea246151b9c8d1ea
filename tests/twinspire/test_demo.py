"""`twinspire demo` as a whole, on the real corpus: the numbers it must reach, and that it is quick again."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.assets, pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
AGAIN_WITHIN_S = 60.0  # a busy machine's time; about five seconds on an idle one


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "workspace"


def demo(workspace: Path, *options: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "twinspire", "--workspace", str(workspace), "demo", "--json", *options],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def told(workspace: Path) -> Any:
    return demo(workspace)


def test_it_measures_the_full_corpus_on_a_thousand_held_out_questions(told: Any) -> None:
    assert told["evaluation"]["n"] == 1000
    assert told["evaluation"]["corpus"] == 66_635


def test_the_trained_vectors_alone_reach_what_was_asked_for(told: Any) -> None:
    assert told["evaluation"]["dense"]["MRR@10"] >= 0.71


def test_the_hybrid_is_not_below_bm25(told: Any) -> None:
    assert told["evaluation"]["metrics"]["MRR@10"] >= told["evaluation"]["bm25"]["MRR@10"]


def test_bm25_does_what_it_can(told: Any) -> None:
    assert told["evaluation"]["bm25"]["MRR@10"] >= 0.86


def test_the_questions_find_relevant_passages(told: Any) -> None:
    assert len(told["answers"]) >= 3
    for answer in told["answers"]:
        assert any(hit["relevant"] for hit in answer["hits"])


def test_running_it_again_uses_what_is_there(told: Any, workspace: Path) -> None:
    started = time.monotonic()

    again = demo(workspace)

    assert time.monotonic() - started < AGAIN_WITHIN_S
    assert again["evaluation"] == told["evaluation"]
    assert [answer["hits"] for answer in again["answers"]] == [answer["hits"] for answer in told["answers"]]


def test_redis_finds_the_same(workspace: Path, told: Any) -> None:
    with_redis = demo(workspace, "--backend", "redis")["evaluation"]

    assert with_redis["index_version"] != told["evaluation"]["index_version"]
    assert with_redis["exact"]["MRR@10"] == pytest.approx(told["evaluation"]["exact"]["MRR@10"], abs=0.002)
    assert with_redis["dense"]["MRR@10"] >= 0.71
