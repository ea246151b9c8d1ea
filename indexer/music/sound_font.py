"""A small reader and player of SoundFont 2 files: samples, pitched, looped and faded; no filters, no effects.

Playing them ourselves keeps the rule that nothing of a downloaded package runs, and gives the same samples
on every machine, which a synthesiser's compiled code would not promise.

Source: SoundFont Technical Specification 2.04, sections 5 to 9.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import CorruptArtifact

Samples = NDArray[np.float32]

# Generators, by their numbers in section 8.1.2.
START, END, LOOP_START, LOOP_END = 0, 1, 2, 3
ATTACK, HOLD, DECAY, SUSTAIN, RELEASE = 34, 35, 36, 37, 38
INSTRUMENT, KEYS, VELOCITIES, ATTENUATION = 41, 43, 44, 48
COARSE_TUNE, FINE_TUNE, SAMPLE, MODE, SCALE_TUNING, ROOT_KEY = 51, 52, 53, 54, 56, 58
_COARSE_OFFSETS = {START: 4, END: 12, LOOP_START: 45, LOOP_END: 50}
_RANGES = (KEYS, VELOCITIES)
_DEFAULTS = {ATTACK: -12000, HOLD: -12000, DECAY: -12000, RELEASE: -12000, SCALE_TUNING: 100, ROOT_KEY: -1}

_FADE_DB = 96.0  # silence: decay and release times are told for as much
_LONGEST_RELEASE_S = 0.6

_HEADER = np.dtype(
    [("name", "S20"), ("bounds", "<u4", 4), ("rate", "<u4"), ("key", "u1"), ("cents", "i1"), ("rest", "<u4")]
)
_PRESET = np.dtype([("name", "S20"), ("program", "<u2"), ("bank", "<u2"), ("zone", "<u2"), ("rest", "S12")])
_INSTRUMENT = np.dtype([("name", "S20"), ("zone", "<u2")])
_PAIR = np.dtype(
    [("first", "<u2"), ("second", "<i2")]
)  # of a zone: its generators; of a generator: its value
Zone = Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Voice:
    """A sample of an instrument: which keys it sounds for, and how."""

    generators: Zone

    def sounds(self, key: int, velocity: int) -> bool:
        """Tell whether a key struck so sounds here."""
        return all(
            low <= value <= high
            for value, generator in ((key, KEYS), (velocity, VELOCITIES))
            for low, high in [byte_range(self.generators.get(generator))]
        )


def byte_range(packed: int | None) -> tuple[int, int]:
    """Unpack a range: low byte low, high byte high.

    >>> byte_range(0x7F3C)
    (60, 127)
    """
    if packed is None:
        return 0, 127
    high, low = divmod(packed & 0xFFFF, 256)
    return low, high


class SoundFont:
    """Instruments by their General MIDI program."""

    def __init__(self, file: Path) -> None:
        try:
            chunks = _chunks(file.read_bytes())
            self._pcm = np.frombuffer(chunks["smpl"], dtype="<i2")
            self._headers = np.frombuffer(chunks["shdr"], dtype=_HEADER)
            presets = np.frombuffer(chunks["phdr"], dtype=_PRESET)
            self._presets = {
                (int(row["bank"]), int(row["program"])): place for place, row in enumerate(presets[:-1])
            }
            self._preset_zones = _zones(presets["zone"], chunks["pbag"], chunks["pgen"], INSTRUMENT)
            instruments = np.frombuffer(chunks["inst"], dtype=_INSTRUMENT)
            self._instrument_zones = _zones(instruments["zone"], chunks["ibag"], chunks["igen"], SAMPLE)
        except (KeyError, ValueError, IndexError, struct.error) as error:
            raise CorruptArtifact(f"{file.name}: not a sound font") from error

    def voices(self, program: int) -> list[Voice]:
        """List the zones of a program (0 = grand piano), of bank 0.

        Raises:
            KeyError: if the font has no such program.
        """
        return [
            Voice(_added(zone, outer))
            for outer in self._preset_zones[self._presets[0, program]]
            for zone in self._instrument_zones[outer[INSTRUMENT]]
        ]

    def play(
        self, voices: list[Voice], key: int, seconds: float, rate: int, *, velocity: int = 80
    ) -> Samples:
        """Sound one note.

        Args:
            voices: of a program.
            key: MIDI number.
            seconds: until the key is let go; the sound goes on while it fades.
            rate: samples a second.
            velocity: how hard it is struck, 1 to 127.

        Returns:
            Mono samples, longer than `seconds`; empty if the program has no such key.
        """
        sounds = [self._sound(voice, key, seconds, rate) for voice in voices if voice.sounds(key, velocity)]
        mixed = np.zeros(max(map(len, sounds), default=0), np.float32)
        for sound in sounds:
            mixed[: len(sound)] += sound
        return mixed * np.float32((velocity / 127) ** 2)

    def _sound(self, voice: Voice, key: int, seconds: float, rate: int) -> Samples:
        generators = voice.generators
        header = self._headers[generators[SAMPLE]]
        start, end, loop_start, loop_end = (
            int(bound) + generators.get(which, 0) + 32768 * generators.get(_COARSE_OFFSETS[which], 0)
            for bound, which in zip(header["bounds"], (START, END, LOOP_START, LOOP_END), strict=True)
        )
        root = generators.get(ROOT_KEY, -1)
        root = int(header["key"]) if root < 0 else root
        cents = (key - root) * generators.get(SCALE_TUNING, 100) + int(header["cents"])
        cents += 100 * generators.get(COARSE_TUNE, 0) + generators.get(FINE_TUNE, 0)
        envelope = _envelope(generators, seconds, rate)
        places = np.arange(len(envelope)) * (2 ** (cents / 1200) * float(header["rate"]) / rate)
        if generators.get(MODE, 0) in (1, 3) and loop_end > loop_start:
            beyond = places >= loop_end - start
            places[beyond] = (loop_start - start) + np.mod(
                places[beyond] - (loop_start - start), loop_end - loop_start
            )
        pcm = self._pcm[start:end].astype(np.float32) / 32768
        heard = np.interp(places, np.arange(len(pcm)), pcm, right=0.0)
        gain = 10 ** (-generators.get(ATTENUATION, 0) / 200)
        return np.asarray(heard * envelope * gain, np.float32)


def _envelope(generators: Zone, seconds: float, rate: int) -> NDArray[np.float64]:
    """Make the loudness over time: a linear attack, a hold, a decay to the sustained level, a release."""
    attack, hold, decay, release = (
        2 ** (generators.get(which, -12000) / 1200) for which in (ATTACK, HOLD, DECAY, RELEASE)
    )
    release = min(max(release, 0.05), _LONGEST_RELEASE_S)
    times = np.arange(int((seconds + release) * rate)) / rate
    sustain_db = min(generators.get(SUSTAIN, 0) / 10, _FADE_DB)
    loss_db = np.clip((times - attack - hold) / decay * _FADE_DB, 0, sustain_db)
    loss_db += np.clip((times - seconds) / release, 0, 1) * _FADE_DB
    rise: NDArray[np.float64] = np.clip(times / attack, 0, 1)
    return rise * 10 ** (-loss_db / 20)


def _added(zone: Zone, outer: Zone) -> dict[int, int]:
    """Lay a preset's generators over its instrument's: numbers add up, ranges narrow."""
    merged = dict(zone)
    for generator, value in outer.items():
        if generator in _RANGES:
            (low, high), (least, most) = byte_range(value), byte_range(zone.get(generator))
            merged[generator] = max(low, least) + 256 * min(high, most)
        elif generator != INSTRUMENT:
            merged[generator] = zone.get(generator, _DEFAULTS.get(generator, 0)) + value
    return merged


def _zones(firsts: NDArray[np.uint16], bags: bytes, generators: bytes, last: int) -> list[list[Zone]]:
    """Read the zones of presets or instruments; one without a `last` generator holds the others' defaults."""
    starts = np.frombuffer(bags, dtype=_PAIR)["first"]
    pairs = np.frombuffer(generators, dtype=_PAIR)
    owners: list[list[Zone]] = []
    for first, end in pairwise(firsts.tolist()):
        common: Zone = {}
        zones: list[Zone] = []
        for bag in range(first, end):
            zone = {int(kind): int(value) for kind, value in pairs[starts[bag] : starts[bag + 1]].tolist()}
            if last in zone:
                zones.append({**common, **zone})
            elif bag == first:
                common = zone
        owners.append(zones)
    return owners


def _chunks(content: bytes) -> dict[str, bytes]:
    """Find the chunks of a RIFF file and of its lists, by their names."""
    if content[:4] != b"RIFF" or content[8:12] != b"sfbk":
        raise ValueError("not RIFF sfbk")
    found: dict[str, bytes] = {}

    def walk(at: int, end: int) -> None:
        while at + 8 <= end:
            name, size = struct.unpack_from("<4sI", content, at)
            if name == b"LIST":
                walk(at + 12, at + 8 + size)
            else:
                found[name.decode("ascii", "replace")] = content[at + 8 : at + 8 + size]
            at += 8 + size + size % 2

    walk(12, len(content))
    return found
