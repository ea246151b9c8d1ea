"""Writing the files that the import tests read."""

import json
from pathlib import Path
from typing import Any


def write_lines(path: Path, *rows: Any) -> Path:
    """Write rows as JSON lines; bytes go as they are."""
    path.write_bytes(
        b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)
    )
    return path


def read_lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]
