"""Which pieces of music21's corpus are taken: whose they are, and which work they belong to."""

import hashlib
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = "music21/corpus/"
MOST_OF_A_COMPOSER = 55  # works: two of them would otherwise be most of the corpus


@dataclass(frozen=True, slots=True)
class Piece:
    """A file of the corpus."""

    member: str  # its path in the package
    composer: str
    work: str  # what is never split between training and testing: an opus, a mass, a cantata

    @property
    def name(self) -> str:
        """What the piece's audio is called: the composer, and the file without its ending."""
        stem = self.member.removeprefix(ROOT).rpartition(".")[0]
        return re.sub(r"[^A-Za-z0-9.]+", "-", stem).strip("-").lower()


# Composer -> the path's pattern; its group is the work. Works of doubtful authorship are left out, and so
# are second files of a piece.
_PATTERNS: Mapping[str, str] = {
    "bach": r"bach/(bwv\d+)(?:\.\d+)?\.mxl",
    "beethoven": r"beethoven/(opus\d+(?:no\d)?)(?:/movement\d)?\.mxl",
    "ciconia": r"trecento/(PMFC_24_(?!20-|21-)\d+)-.*\.xml",
    "giovanni da cascia": r"trecento/(PMFC_06_Giovanni-\d+).*\.xml",
    "haydn": r"haydn/(opus\w+)/movement\d\.mxl",
    "jacopo da bologna": r"trecento/(PMFC_06-Jacopo-\d+|PMFC_06_(?:10|8)-).*\.xml",
    "landini": r"trecento/(PMFC_04-.*)\.xml",
    "monteverdi": r"monteverdi/(madrigal\.\d+\.\d+)\.mxl",
    "mozart": r"mozart/(k\d+)/movement\d\w*\.mxl",
    "piero": r"trecento/(PMFC_06_Piero_\d+).*\.xml",
    "clara schumann": r"schumann_clara/(opus17|polonaise_op1).*\.(?:mxl|xml)",
    "robert schumann": r"schumann_robert/(opus\w+).*\.mxl",
    "vitry": r"trecento/(PMFC_01-.*)\.xml",
}
_MASS = re.compile(r"^!!!OPR: *(.+?)\s*$", re.MULTILINE)


def pieces(package: Path) -> list[Piece]:
    """List the pieces that are taken, by composer and name.

    Of Bach's cantatas and of Palestrina's masses one movement each, for so many works as the limit allows,
    drawn by a hash; of the others every movement.
    """
    with zipfile.ZipFile(package) as archive:
        names = [name for name in archive.namelist() if name.startswith(ROOT)]
        found = [*_by_path(names), *_palestrina(archive, names)]
    taken: list[Piece] = []
    for composer in sorted({piece.composer for piece in found}):
        own = [piece for piece in found if piece.composer == composer]
        if composer in ("bach", "palestrina"):
            own = _one_a_work(own)[:MOST_OF_A_COMPOSER]
        taken += sorted(own, key=lambda piece: piece.name)
    return taken


def _by_path(names: list[str]) -> Iterator[Piece]:
    for name in names:
        for composer, pattern in _PATTERNS.items():
            match = re.fullmatch(pattern, name.removeprefix(ROOT))
            if match:
                yield Piece(name, composer, f"{composer} {match[1].lower()}")


def _palestrina(archive: zipfile.ZipFile, names: list[str]) -> Iterator[Piece]:
    for name in names:
        if name.startswith(f"{ROOT}palestrina/") and name.endswith(".krn"):
            mass = _MASS.search(archive.read(name).decode("utf-8", "replace"))
            if mass:
                yield Piece(name, "palestrina", f"palestrina {mass[1].lower()}")


def _one_a_work(found: list[Piece]) -> list[Piece]:
    drawn = sorted(found, key=lambda piece: hashlib.sha256(piece.member.encode()).digest())
    return list({piece.work: piece for piece in reversed(drawn)}.values())[::-1]
