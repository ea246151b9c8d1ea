import json
from pathlib import Path

import pytest

from retrieval.workspace import Workspace
from tests.probing.conftest import COLLECTION, HERTZ, name_of
from twinspire.cli import run


def command(own: Workspace, *arguments: str) -> int:
    return run(["--workspace", str(own.root), *arguments])


def test_a_probing_prints_r2_by_layer_and_the_layers_of_aspects(
    own: Workspace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "probing.html"

    code = command(own, "probe", COLLECTION, "--features", "bands", "--no-neural", "--html", str(page))

    printed = capsys.readouterr().out
    assert code == 0
    for expected in ("spectral_centroid", "tuned ridge, best layer", "brightness", f"{COLLECTION}-aspects@2"):
        assert expected in printed
    assert page.read_text().count("<svg") == 3


def test_a_probing_as_json_is_that_of_its_run(own: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    command(own, "probe", COLLECTION, "--features", "bands", "--group-by", "take", "--no-neural", "--json")

    told = json.loads(capsys.readouterr().out)
    assert (told["n"], told["groups"], told["group_by"]) == (len(HERTZ), len(HERTZ) // 2, "take")
    assert len(told["targets"]["tempo"]["ridge"]["r2"]) == 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nothing", "--features", "bands"], "nothing"),
        ([COLLECTION, "--features", "nobody"], "there is no model 'nobody'"),
        ([COLLECTION, "--features", f"{COLLECTION}-aspects"], "aspects"),
        ([COLLECTION, "--features", "bands", "--group-by", "bright"], "5 groups at least, got 2"),
    ],
)
def test_what_cannot_be_probed_is_said(
    own: Workspace, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    assert command(own, "probe", *arguments, "--no-neural") == 1
    assert complaint in capsys.readouterr().err


def test_the_command_line_searches_by_aspect(own: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    code = command(
        own,
        *("search", "--collection", COLLECTION, "--item", name_of(HERTZ[0])),
        *("--aspect", "brightness=1,rhythmic-energy=0.5", "--json"),
    )

    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert told["score_kind"] == "aspects"
    assert len(told["hits"]) == 10


def test_a_weight_that_is_no_number_is_said(own: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(own, "search", "--collection", COLLECTION, "--item", "x", "--aspect", "tempo=fast") == 1
    assert "expected NAME=WEIGHT" in capsys.readouterr().err
