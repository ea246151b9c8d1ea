"""`twinspire encoders`: adding, listing and exporting on the command line."""

import json
from pathlib import Path

import pytest

from tests.encoders.text.conftest import MakePublished, make_published
from twinspire.cli import run

__all__ = ["make_published"]


def test_an_encoder_is_added_exported_and_listed(
    tmp_path: Path, make_published: MakePublished, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = ["--workspace", str(tmp_path / "ws")]
    add = [*workspace, "encoders", "add", "e5", str(make_published())]
    assert run([*add, "--set", "query_prefix=query: ", "--set", "max_tokens=16", "--json"]) == 0
    added = json.loads(capsys.readouterr().out)

    assert run([*workspace, "encoders", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)

    assert added["encoder"] == "e5@1"
    assert (added["preprocessing"]["query_prefix"], added["preprocessing"]["max_tokens"]) == ("query: ", 16)
    assert added["onnx"]["min_cosine"] >= 0.9999
    assert (listed["fingerprint"], listed["onnx"]) == (added["fingerprint"], True)


def test_a_setting_without_a_value_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--workspace", str(tmp_path), "encoders", "add", "x", "y", "--set", "pooling"]) == 1

    assert "expected KEY=VALUE, got 'pooling'" in capsys.readouterr().err
