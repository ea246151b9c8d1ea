"""docs/media.md tells what the code does."""

import re
from dataclasses import asdict
from pathlib import Path

from encoders.media.images import THUMBNAIL_EDGE
from encoders.media.limits import DEFAULT_LIMITS
from indexer.importers.folder import MEDIA_SUFFIXES, METADATA_FILE, TEXT_SUFFIXES
from indexer.importers.metadata import FILE_COLUMNS, TEXT_COLUMNS
from retrieval.items import MAX_TEXT_BYTES

PAGE = (Path(__file__).parents[2] / "docs" / "media.md").read_text()


def test_the_limits_are_those_of_the_code() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", PAGE, flags=re.MULTILINE))

    assert told == {name: str(value) for name, value in asdict(DEFAULT_LIMITS).items()}


def test_each_format_is_told() -> None:
    told = PAGE.lower()
    others = {".jpg": "jpeg", ".oga": "ogg", ".opus": "opus", ".m4v": "mp4"}
    names = {others.get(suffix, suffix.removeprefix(".")) for suffix in MEDIA_SUFFIXES}

    assert [name for name in names if name not in told] == []
    assert all(f"`{suffix}`" in PAGE for suffix in TEXT_SUFFIXES)


def test_the_columns_and_numbers_are_those_of_the_code() -> None:
    assert all(f"`{name}`" in PAGE for name in (*FILE_COLUMNS, *TEXT_COLUMNS, METADATA_FILE))
    assert f"{THUMBNAIL_EDGE} pixels" in PAGE
    assert MAX_TEXT_BYTES == 1 << 20
