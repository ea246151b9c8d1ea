"""Written music, read into notes: MusicXML (plain or `.mxl`) and Humdrum's `**kern`.

Only what sounds is read: pitches, onsets, lengths. Dynamics, articulation, repeats and tempo marks are not:
they are the editor's habit as much as the composer's.
"""

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from xml.etree import ElementTree

from retrieval.errors import UnreadableSource

SEMITONES = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_COMPOUND_FROM = 6  # 6/8, 9/8, 12/8: three notes a beat


@dataclass(frozen=True, slots=True)
class Note:
    """One sounding note."""

    onset: Fraction  # quarters since the beginning
    length: Fraction  # quarters
    pitch: int  # MIDI number, 60 is middle C


@dataclass(frozen=True, slots=True)
class Score:
    """The notes of a piece, by onset."""

    notes: tuple[Note, ...]
    beat: Fraction  # quarters a beat has by the first time signature


def read_score(name: str, content: bytes) -> Score:
    """Read a score by the ending of its file's name.

    Raises:
        UnreadableSource: if it is none that can be read, or has no notes.
    """
    try:
        if name.endswith(".krn"):
            score = _kern(content.decode("utf-8", "replace"))
        else:
            score = _musicxml(_unpacked(content) if name.endswith(".mxl") else content)
    except (ElementTree.ParseError, zipfile.BadZipFile, ValueError, KeyError, StopIteration) as error:
        raise UnreadableSource(f"{name}: not a score that can be read: {error}") from error
    if not score.notes:
        raise UnreadableSource(f"{name}: the score has no notes")
    return score


def _unpacked(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name for name in archive.namelist() if not name.startswith("META-INF")]
        return archive.read(next(name for name in names if name.endswith((".xml", ".musicxml"))))


def _beat(beats: int, unit: int) -> Fraction:
    """Return a beat's quarters by the time signature: 4/2 counts halves, 6/8 dotted quarters.

    >>> str(_beat(4, 2)), str(_beat(6, 8))
    ('2', '3/2')
    """
    compound = beats % 3 == 0 and beats >= _COMPOUND_FROM and unit >= 8
    return Fraction(4, unit) * (3 if compound else 1)


def _musicxml(content: bytes) -> Score:
    root = ElementTree.fromstring(content)
    parts = [list(_part(part)) for part in root.iter("part")]
    if not parts:
        raise ValueError("no parts")
    # Bars of different parts are laid over each other, so one that is written too short shifts nothing.
    lengths = [max(part[bar][1] for part in parts if bar < len(part)) for bar in range(max(map(len, parts)))]
    starts = [*accumulate(lengths, initial=Fraction(0))]
    notes: list[Note] = []
    for part in parts:
        placed = [
            (Note(starts[bar] + note.onset, note.length, note.pitch), tied)
            for bar, (written, _) in enumerate(part)
            for note, tied in written
        ]
        notes += _joined(placed)
    beats, unit = root.find(".//time/beats"), root.find(".//time/beat-type")
    signature = (
        (beats.text or "4", unit.text or "4") if beats is not None and unit is not None else ("4", "4")
    )
    counted = sum(int(number) for number in signature[0].split("+"))
    return Score(_by_onset(notes), _beat(counted, int(signature[1])))


def _part(part: ElementTree.Element) -> Iterator[tuple[list[tuple[Note, bool]], Fraction]]:
    """Yield each bar of a part: its notes by their onset in the bar, whether tied to the last, its length."""
    divisions, shift = Fraction(1), 0
    for bar in part.iter("measure"):
        at = end = onset = Fraction(0)
        notes: list[tuple[Note, bool]] = []
        for element in bar:
            length = Fraction(element.findtext("duration") or 0) / divisions
            if element.tag == "attributes":
                divisions = Fraction(element.findtext("divisions") or divisions)
                shift = int(element.findtext("transpose/chromatic") or shift)
            elif element.tag in ("backup", "forward"):
                at += length if element.tag == "forward" else -length
            elif element.tag == "note" and length:  # grace notes have none
                if element.find("chord") is None:
                    onset, at = at, at + length
                pitch = _pitch(element)
                if pitch is not None:
                    tied = any(tie.get("type") == "stop" for tie in element.iter("tie"))
                    notes.append((Note(onset, length, pitch + shift), tied))
            end = max(end, at)
        yield notes, end


def _pitch(element: ElementTree.Element) -> int | None:
    step = element.findtext("pitch/step")
    if step is None:  # a rest, or a drum
        return None
    octave, alter = int(element.findtext("pitch/octave") or 4), element.findtext("pitch/alter") or "0"
    return 12 * (octave + 1) + SEMITONES[step.lower()] + round(float(alter))


def _by_onset(notes: list[Note]) -> tuple[Note, ...]:
    return tuple(sorted(notes, key=lambda note: (note.onset, note.pitch)))


def _joined(notes: list[tuple[Note, bool]]) -> list[Note]:
    """Make one note of notes that are tied."""
    sounding: dict[int, int] = {}  # pitch -> place in `joined`
    joined: list[Note] = []
    for note, tied in notes:
        place = sounding.get(note.pitch)
        if tied and place is not None and joined[place].onset + joined[place].length == note.onset:
            first = joined[place]
            joined[place] = Note(first.onset, first.length + note.length, first.pitch)
            continue
        sounding[note.pitch] = len(joined)
        joined.append(note)
    return joined


_KERN_NOTE = re.compile(r"(\d+)(?:%(\d+))?(\.*)[^a-gA-Gr]*(?:r|([a-gA-G]+)([#n-]*))")


def _kern(text: str) -> Score:
    """Read `**kern` whose spines neither split nor join."""
    rows = [line.split("\t") for line in text.splitlines() if line and not line.startswith("!")]
    if not rows or any(cell in ("*^", "*v", "*x") for row in rows for cell in row):
        raise ValueError("spines that split")
    width = len(rows[0])
    ends, notes = [Fraction(0)] * width, [[] for _ in range(width)]  # type: list[Fraction], list[list[tuple[Note, bool]]]
    now, beat = Fraction(0), Fraction(1)
    for row in rows:
        if row[0].startswith(("*", "=")):
            signature = next((re.fullmatch(r"\*M(\d+)/(\d+)", cell) for cell in row), None)
            if signature and not any(notes):
                beat = _beat(int(signature[1]), int(signature[2]))
            continue
        for spine, cell in enumerate(row[:width]):
            if cell != ".":
                ends[spine] = now + _kern_cell(cell, now, notes[spine])
        now = min((end for end in ends if end > now), default=now)
    joined = [note for spine in notes for note in _joined(spine)]
    return Score(_by_onset(joined), beat)


def _kern_cell(cell: str, now: Fraction, notes: list[tuple[Note, bool]]) -> Fraction:
    """Take the notes of a cell, and return its length in quarters."""
    length = Fraction(0)
    for token in cell.split(" "):
        found = _KERN_NOTE.search(token)
        if not found or "q" in token:  # a grace note
            continue
        length = _kern_length(found[1], found[2], len(found[3]))
        if found[4]:
            letters = found[4]
            octave = 3 + len(letters) if letters[0].islower() else 4 - len(letters)
            pitch = 12 * (octave + 1) + SEMITONES[letters[0].lower()]
            pitch += found[5].count("#") - found[5].count("-")
            notes.append((Note(now, length, pitch), "]" in token or "_" in token))
    return length


def _kern_length(number: str, divisor: str | None, dots: int) -> Fraction:
    """Return a note value in quarters: "4" is one, "0" a breve, "00" a long; a dot adds half.

    >>> [str(_kern_length(*value)) for value in (("2", None, 1), ("0", None, 0), ("00", None, 0))]
    ['3', '8', '16']
    """
    if set(number) == {"0"}:
        plain = Fraction(4 * 2 ** len(number))
    else:
        plain = Fraction(4 * int(divisor or 1), int(number))
    return plain * (2 - Fraction(1, 2**dots))
