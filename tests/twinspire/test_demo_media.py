"""`twinspire demo-media` as a whole, on real pictures and music: the numbers that it must reach."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.assets, pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo-media") / "workspace"


@pytest.fixture(scope="module")
def told(workspace: Path) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "twinspire", "--workspace", str(workspace), "demo-media", "--json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout) | {"said": done.stderr}


def test_texts_find_pictures(told: Any) -> None:
    ids = [hit["id"] for hit in told["answers"][1]["hits"]]

    assert ids[0] in {"1f433.webp", "1f40b.webp", "1f42c.webp", "1f988.webp", "1f419.webp"}  # of the sea


def test_names_find_held_out_pictures_better_than_by_a_ridge_regression(told: Any) -> None:
    metrics = told["metrics"]["emoji-text"]

    found = metrics["test.text_to_media.Recall@10"]
    assert found > 0.6  # the mean of five splits is .728, this one is the hardest of them
    assert found > metrics["ridge.test.text_to_media.Recall@10"]
    assert metrics["test.text_to_media.Recall@10.high"] > 0.7


def test_a_picture_finds_itself_before_others(told: Any) -> None:
    first, second = told["answers"][3]["hits"][:2]

    assert (first["id"], round(first["score"], 3)) == ("1f436.webp", 1.0)
    assert second["score"] < 0.9


def test_music_finds_itself_before_other_music(told: Any) -> None:
    answer = told["answers"][4]

    assert answer["query"] == f"the music {answer['hits'][0]['id']}"
    assert answer["hits"][0]["score"] > 0.999


def test_both_models_are_measured_on_what_was_held_out(told: Any) -> None:
    assert told["metrics"]["emoji-text"]
    assert told["metrics"]["music-fusion"]


def test_the_weights_of_layers_are_drawn(told: Any, workspace: Path) -> None:
    plot = workspace / "layer-weights.html"
    assert "<svg" in plot.read_text()
    assert str(plot) in told["said"]


def test_the_steps_are_as_many_as_were_promised(told: Any) -> None:
    assert "[5/5]" in told["said"]
    assert "[6/" not in told["said"]
