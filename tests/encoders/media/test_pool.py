import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from encoders.media.decoding import Decoder
from encoders.media.limits import DEFAULT_LIMITS
from encoders.media.specs import ImageSpec
from retrieval.errors import BackendUnavailable, MediaTooLarge, MediaUnreadable
from tests.encoders.media.decoded import AUDIO, IMAGE, decode, is_grey, refusal
from tests.encoders.media.processes import children, crash, end
from tests.media.files import picture, png_bomb, sound

LONG = sound(seconds=30, rate=96_000, channels=8)


@pytest.fixture
def own() -> Iterator[Decoder]:
    """A decoder whose only process may be ended; it has decoded something."""
    with Decoder(max_children=1) as decoder:
        decode(decoder, picture())
        yield decoder


def test_no_process_is_started_before_the_first_file() -> None:
    before = len(children())
    with Decoder():
        assert len(children()) == before


def test_files_share_processes(own: Decoder) -> None:
    before = children()
    own.decode([(picture(), IMAGE, None)] * 20)

    assert children() == before


def test_answers_come_in_the_order_of_the_requests() -> None:
    with Decoder(max_children=2) as decoder:
        colours = [(value, 0, 0) for value in range(0, 250, 10)]
        found = decoder.decode([(picture(colour=colour), IMAGE, None) for colour in colours])

    firsts = [int(pixels[0, 0, 0]) for pixels in found if isinstance(pixels, np.ndarray)]
    assert firsts == [colour[0] for colour in colours]


def test_threads_may_share_a_decoder() -> None:
    with Decoder(max_children=2) as decoder:
        right: list[bool] = []

        def work() -> None:
            right.extend(is_grey(decode(decoder, picture())) for _ in range(10))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert right == [True] * 40


def test_the_processes_end_with_the_decoder() -> None:
    with Decoder(max_children=1) as decoder:
        decode(decoder, picture())
        child = children()[-1]

    assert not child.is_running()


def test_a_process_that_was_ended_in_between_is_replaced(own: Decoder) -> None:
    end(children()[-1])

    assert is_grey(decode(own, picture()))


def test_a_crash_costs_one_file(own: Decoder) -> None:
    with crash(children()[-1]):
        error = refusal(own, LONG, AUDIO)

    assert isinstance(error, MediaUnreadable)
    assert is_grey(decode(own, picture()))


def test_a_hang_ends_after_its_time() -> None:
    with Decoder(max_children=1, timeout_s=0.5) as decoder:
        decode(decoder, picture())
        children()[-1].suspend()

        assert "longer than 0.5 s" in str(refusal(decoder, picture()))
        assert is_grey(decode(decoder, picture()))


def test_what_takes_too_much_memory_is_too_large() -> None:
    limits = replace(DEFAULT_LIMITS, memory_bytes=100 << 20)
    with Decoder(max_children=1, limits=limits) as decoder:
        error = refusal(decoder, png_bomb(10_900, 10_900))

        assert isinstance(error, MediaTooLarge)
        assert is_grey(decode(decoder, picture()))


def test_what_takes_too_much_processor_time_is_unreadable() -> None:
    limits = replace(DEFAULT_LIMITS, cpu_s=0)  # less than a second
    with Decoder(max_children=1, limits=limits) as decoder:
        error = refusal(decoder, png_bomb(10_900, 10_900), ImageSpec(height=6_000, width=6_000))

        assert "processor time" in str(error)
        assert is_grey(decode(decoder, picture()))


@pytest.mark.parametrize("program", ["/bin/false", "/nowhere/python"])
def test_a_process_that_does_not_start_blames_no_file(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", program)
    with Decoder(max_children=1) as decoder:
        assert isinstance(refusal(decoder, picture()), BackendUnavailable)


def test_the_process_may_write_no_file_and_sees_no_secret(
    own: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = children()[-1]

    assert child.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
    assert set(child.environ()) <= {
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MALLOC_ARENA_MAX",
        "MALLOC_MMAP_THRESHOLD_",
        "MALLOC_TRIM_THRESHOLD_",
        "LD_LIBRARY_PATH",
        "PATH",
        "LC_CTYPE",
    }


def test_the_process_imports_nothing_heavy(own: Decoder) -> None:
    decode(own, sound(), AUDIO)
    mapped = Path(f"/proc/{children()[-1].pid}/maps").read_text()

    assert not any(library in mapped for library in ("torch", "faiss", "grpc", "libav"))


def test_a_closed_decoder_blames_no_file(own: Decoder) -> None:
    own.close()

    with pytest.raises(RuntimeError):
        own.decode([(picture(), IMAGE, None)])


def test_a_pipe_is_not_waited_for(own: Decoder, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")

    assert isinstance(refusal(own, tmp_path / "pipe.png"), MediaUnreadable)
