"""Files told by their paths: a process is told the next while it works at one."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from encoders.media import child_process, pool
from encoders.media.decoding import Decoder
from encoders.media.limits import DEFAULT_LIMITS
from encoders.media.specs import AudioSpec, DecodeSpec, ImageSpec
from retrieval.deadlines import work_until
from retrieval.errors import DeadlineExceeded, MediaTooLarge, MediaUnreadable, TwinspireError
from tests.encoders.media.decoded import AUDIO, IMAGE, decode
from tests.encoders.media.processes import children, crash
from tests.media.files import picture, png_bomb, slow_png, sound

REDS = range(0, 240, 20)


@pytest.fixture
def reds(tmp_path: Path) -> list[Path]:
    """Pictures of REDS."""
    for red in REDS:
        (tmp_path / f"{red}.png").write_bytes(picture(colour=(red, 0, 0)))
    return [tmp_path / f"{red}.png" for red in REDS]


@pytest.fixture
def own() -> Iterator[Decoder]:
    """A decoder whose only process may be ended; it has decoded something."""
    with Decoder(max_children=1) as decoder:
        decode(decoder, picture())
        yield decoder


def decoded(decoder: Decoder, paths: list[Path], spec: DecodeSpec = IMAGE) -> list[int | TwinspireError]:
    """Decode pictures: the red of each, or why there is none."""
    return [
        outcome if isinstance(outcome, TwinspireError) else int(outcome[0, 0, 0])
        for outcome in decoder.decode([(path, spec, None) for path in paths])
    ]


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_answers_come_in_the_order_of_the_files(reds: list[Path], processes: int) -> None:
    with Decoder(max_children=processes) as decoder:
        assert decoded(decoder, reds) == list(REDS)


def test_a_damaged_file_is_refused_and_those_beside_it_are_not(own: Decoder, reds: list[Path]) -> None:
    reds[3].write_bytes(picture()[:40])
    outcomes = decoded(own, reds)

    assert isinstance(outcomes.pop(3), MediaUnreadable)
    assert outcomes == [red for red in REDS if red != REDS[3]]


def test_a_crash_costs_the_file_that_was_worked_at(own: Decoder, tmp_path: Path) -> None:
    (tmp_path / "long.wav").write_bytes(sound(seconds=30, rate=96_000, channels=8))
    (tmp_path / "short.wav").write_bytes(sound())
    names = ("long.wav", "short.wav", "short.wav")
    requests: list[tuple[Path, AudioSpec, None]] = [(tmp_path / name, AUDIO, None) for name in names]
    with crash(children()[-1]):
        crashed, *others = own.decode(requests)

    assert isinstance(crashed, MediaUnreadable)
    assert all(isinstance(other, np.ndarray) for other in others)


def test_a_hang_costs_the_file_that_was_worked_at(reds: list[Path]) -> None:
    with Decoder(max_children=1, timeout_s=0.5) as decoder:
        decoded(decoder, reds[:1])
        children()[-1].suspend()
        first, *others = decoded(decoder, reds)

    assert isinstance(first, MediaUnreadable)
    assert others == list(REDS[1:])


def test_a_process_that_ran_out_of_memory_costs_one_file(reds: list[Path]) -> None:
    reds[2].write_bytes(png_bomb(10_900, 10_900))
    limits = replace(DEFAULT_LIMITS, memory_bytes=100 << 20)
    with Decoder(max_children=1, limits=limits) as decoder:
        outcomes = decoded(decoder, reds)

    assert isinstance(outcomes.pop(2), MediaTooLarge)
    assert outcomes == [red for red in REDS if red != REDS[2]]


def test_processes_that_answered_often_give_way_without_loss(
    reds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "FILES_PER_CHILD", 5)
    with Decoder(max_children=1) as decoder:
        decoded(decoder, reds[:1])
        first = children()[-1]

        assert decoded(decoder, reds) == list(REDS)
        assert not first.is_running()


def test_nothing_is_decoded_after_the_deadline(tmp_path: Path) -> None:
    (tmp_path / "slow.png").write_bytes(slow_png())
    with Decoder(max_children=1) as decoder:
        decode(decoder, picture())
        started = time.perf_counter()
        with work_until(started + 0.2):
            outcomes = decoded(decoder, [tmp_path / "slow.png"] * 5, ImageSpec(height=8, width=8))
        took_s = time.perf_counter() - started

    assert [type(outcome) for outcome in outcomes] == [DeadlineExceeded] * 5
    assert took_s < 1.0


def test_small_pipes_and_long_names_hold_up_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "_PIPE_BYTES", 4096)  # less than an answer, and than such a request
    folder = tmp_path
    for _ in range(9):
        folder /= "\u00e9" * 120
    folder.mkdir(parents=True)
    (folder / "long.png").write_bytes(picture(colour=(7, 0, 0)))
    (tmp_path / "short.png").write_bytes(picture(colour=(9, 0, 0)))
    paths = [folder / "long.png", tmp_path / "short.png", tmp_path / "short.png"] * 3
    with Decoder(max_children=1, timeout_s=5) as decoder:
        outcomes = decoded(decoder, paths, ImageSpec(height=200, width=200))

    assert outcomes == [7, 9, 9] * 3
