"""The corpus of rendered music, as it comes from the registry."""

import csv
from collections import defaultdict
from pathlib import Path

import pytest
import soundfile

from indexer.music_corpus import COMPOSER_CLIP_S, RATE, instrument_corpus, music_corpus

pytestmark = [pytest.mark.assets, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def folder() -> Path:
    return music_corpus()


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open() as file:
        return list(csv.DictReader(file))


def test_there_are_200_works_of_8_composers(rows: list[dict[str, str]]) -> None:
    works = defaultdict(set)
    for row in rows:
        works[row["composer"]].add(row["work"])

    assert sum(map(len, works.values())) >= 200
    assert len([own for own in works.values() if len(own) >= 3]) >= 8


def test_the_clips_are_equally_long_and_of_one_rate(folder: Path, rows: list[dict[str, str]]) -> None:
    about = {
        (info.frames, info.samplerate, info.channels)
        for info in (soundfile.info(folder / row["file"]) for row in rows[::10])
    }

    assert about == {(int(COMPOSER_CLIP_S * RATE), RATE, 1)}


def test_the_tempo_tells_nothing_about_the_composer(rows: list[dict[str, str]]) -> None:
    tempos = defaultdict(list)
    for row in rows:
        tempos[row["composer"]].append(int(row["tempo"]))
    means = [sum(own) / len(own) for own in tempos.values() if len(own) >= 20]

    assert max(means) - min(means) < 15  # of 70 beats a minute that are drawn from


def test_each_instrument_plays_the_same_pieces() -> None:
    with (instrument_corpus() / "metadata.csv").open() as file:
        rows = list(csv.DictReader(file))
    works = defaultdict(set)
    for row in rows:
        works[row["instrument"]].add(row["work"])

    assert len(works) == 16
    assert len({frozenset(own) for own in works.values()}) == 1
