"""Layer fusion from the command line: imported features in, a table and an index out."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from retrieval.errors import UnreadableSource
from twinspire.cli import cli
from twinspire.layer_fusion import read_pairs
from twinspire.session import Session

QUICK = ("--dims", "4", "--epochs", "3", "--folds", "3", "--batch-size", "8")


def run(*arguments: str) -> Result:
    session = Session()
    try:
        return CliRunner().invoke(cli, arguments, obj=session, catch_exceptions=False)
    finally:
        session.close()


@pytest.fixture
def workspace(tmp_path: Path) -> str:
    """Hold 24 tracks of two composers, features only."""
    folder = tmp_path / "old"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(24):
        values = random.normal(size=(3, 8)).astype(np.float32)
        values[1, number % 2] += 3
        np.save(folder / f"track{number}.npy", values)
    rows = [f"track{number},{['Bach', 'Ravel'][number % 2]}" for number in range(24)]
    (tmp_path / "tracks.csv").write_text("\n".join(["track_id,composer", *rows]) + "\n")
    root = str(tmp_path / "ws")
    done = run(
        "--workspace",
        root,
        "import",
        "features",
        str(folder),
        "--collection",
        "music",
        "--catalogue",
        str(tmp_path / "tracks.csv"),
        "--json",
    )
    assert json.loads(done.stdout)["imported"] == 24
    return root


def train(workspace: str, *arguments: str) -> Result:
    command = ("train", "layer-fusion", "music", "--name", "fused", "--backbone", "imported-features")
    return run("--workspace", workspace, *command, *QUICK, *arguments)


def test_one_table_compares_all_systems(workspace: str) -> None:
    done = train(workspace, "--labels", "composer")

    for system in ("a random order", "layer 0", "layer 2 (last)", "average of layers", "fused"):
        assert system in done.stdout
    assert "learned weight" in done.stdout


def test_the_json_holds_intervals_and_weights(workspace: str, tmp_path: Path) -> None:
    page = tmp_path / "fused.html"

    told = json.loads(train(workspace, "--labels", "composer", "--json", "--html", str(page)).stdout)

    assert told["systems"]["fused"]["MRR"]["low"] <= told["systems"]["fused"]["MRR"]["high"]
    assert sum(told["weights"]) == pytest.approx(1, abs=1e-5)
    assert "<svg" in page.read_text()


def test_pairs_come_from_a_file(workspace: str, tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("a,b\n" + "".join(f"track{n},track{n + 2}\n" for n in range(0, 24, 4)))

    told = json.loads(train(workspace, "--pairs", str(file), "--json").stdout)

    assert told["labels"] == "pairs"
    assert told["singletons"] == 12


def test_the_trained_fusion_is_indexed_and_finds_by_example(workspace: str) -> None:
    train(workspace, "--labels", "composer")
    run("--workspace", workspace, "index", "music", "--encoder", "fused", "--backend", "exact")

    found = run("--workspace", workspace, "search", "--item", "track3", "--collection", "music", "--json")

    assert len(json.loads(found.stdout)["hits"]) > 0


@pytest.mark.parametrize("content", ["", "a,b\nonly-one\n", "x\n"])
def test_a_file_that_holds_no_pairs_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(content)

    with pytest.raises(UnreadableSource):
        read_pairs(tmp_path / "pairs.csv")


def test_a_heading_is_no_pair(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("a,b\nx,y\n")

    assert read_pairs(tmp_path / "pairs.csv") == [("x", "y")]
