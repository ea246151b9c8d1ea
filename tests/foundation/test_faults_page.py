"""Each row of docs/faults.md names tests that exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "faults.md").read_text()
NAMED = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)


def names_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_named_test_exists() -> None:
    known = {name: names_in(ROOT / "tests" / name) for name in {file for file, _ in NAMED}}

    assert [f"{file}::{test}" for file, test in NAMED if test not in known[file]] == []


def test_every_row_names_a_test() -> None:
    rows = [
        line
        for line in PAGE.splitlines()
        if line.startswith("| ") and not line.startswith(("| fault", "| ---"))
    ]

    assert len(rows) > 30
    assert [row for row in rows if "::test_" not in row] == []


def test_every_row_has_three_columns() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("|")]

    assert [row for row in rows if row.count("|") != 4] == []
