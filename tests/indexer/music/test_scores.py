"""Scores are read into notes."""

import io
import zipfile
from fractions import Fraction

import pytest

from indexer.music.scores import Note, read_score
from retrieval.errors import UnreadableSource


def note(step: str, duration: int, extra: str = "", octave: int = 4) -> str:
    pitch = f"<pitch><step>{step}</step><octave>{octave}</octave></pitch>"
    return f"<note>{pitch}<duration>{duration}</duration>{extra}</note>"


def score_of(*bars: str, time: tuple[int, int] = (4, 4), transpose: int = 0) -> bytes:
    attributes = (
        f"<attributes><divisions>2</divisions><transpose><chromatic>{transpose}</chromatic></transpose>"
        f"<time><beats>{time[0]}</beats><beat-type>{time[1]}</beat-type></time></attributes>"
    )
    first, *rest = bars
    measures = "".join(f"<measure>{bar}</measure>" for bar in (attributes + first, *rest))
    return f"<score-partwise><part>{measures}</part></score-partwise>".encode()


def notes_of(content: bytes) -> list[tuple[float, float, int]]:
    return [(float(n.onset), float(n.length), n.pitch) for n in read_score("x.xml", content).notes]


def test_notes_follow_each_other_in_quarters() -> None:
    assert notes_of(score_of(note("C", 2) + note("D", 4))) == [(0, 1, 60), (1, 2, 62)]


def test_a_chord_sounds_together() -> None:
    chord = note("C", 2) + note("E", 2, "<chord/>") + note("G", 2)

    assert notes_of(score_of(chord)) == [(0, 1, 60), (0, 1, 64), (1, 1, 67)]


def test_a_second_voice_begins_where_it_goes_back_to() -> None:
    bar = note("C", 4) + "<backup><duration>4</duration></backup>" + note("E", 2)

    assert notes_of(score_of(bar)) == [(0, 2, 60), (0, 1, 64)]


def test_tied_notes_are_one() -> None:
    tie, tied = '<tie type="start"/>', '<tie type="stop"/>'

    assert notes_of(score_of(note("C", 8, tie), note("C", 2, tied))) == [(0, 5, 60)]


def test_a_repeated_note_is_struck_again() -> None:
    assert notes_of(score_of(note("C", 2) + note("C", 2))) == [(0, 1, 60), (1, 1, 60)]


def test_grace_notes_and_rests_make_no_sound() -> None:
    grace = "<note><grace/><pitch><step>D</step><octave>4</octave></pitch></note>"
    rest = "<note><rest/><duration>2</duration></note>"

    assert notes_of(score_of(grace + rest + note("C", 2))) == [(1, 1, 60)]


def test_a_transposing_instrument_sounds_as_it_is_heard() -> None:
    assert notes_of(score_of(note("C", 2), transpose=-2)) == [(0, 1, 58)]


@pytest.mark.parametrize(("time", "beat"), [((4, 2), 2), ((6, 8), Fraction(3, 2)), ((3, 4), 1)])
def test_the_beat_follows_the_time_signature(time: tuple[int, int], beat: Fraction) -> None:
    assert read_score("x.xml", score_of(note("C", 2), time=time)).beat == beat


def test_a_compressed_score_is_unpacked() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("META-INF/container.xml", "<container/>")
        archive.writestr("score.xml", score_of(note("C", 2)))

    assert len(read_score("x.mxl", packed.getvalue()).notes) == 1


KERN = "\n".join(
    [
        "**kern\t**kern",
        "*M4/2\t*M4/2",
        "=1\t=1",
        "1CC\t[2cc#",
        ".\t4cc#]",
        ".\t4b-",
        "0r\t2.d",
        "*-\t*-",
    ]
)


def test_kern_spines_sound_together() -> None:
    notes = read_score("x.krn", KERN.encode()).notes

    assert notes == (
        Note(Fraction(0), Fraction(4), 36),
        Note(Fraction(0), Fraction(3), 73),
        Note(Fraction(3), Fraction(1), 70),
        Note(Fraction(4), Fraction(3), 62),
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.xml", b"<score"),
        ("x.xml", b"<html/>"),
        ("x.mxl", b"no archive"),
        ("x.krn", b"**kern\n*^\n"),
        ("x.krn", b""),
        ("x.xml", score_of("")),
    ],
)
def test_what_is_no_score_is_refused(name: str, content: bytes) -> None:
    with pytest.raises(UnreadableSource):
        read_score(name, content)
