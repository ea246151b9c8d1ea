import re
from pathlib import Path

import pytest

from server.config import ServerConfig

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()


def test_the_limits_are_those_of_the_server() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", PAGE, flags=re.MULTILINE))
    config = ServerConfig(workspace=Path())

    assert len(told) >= 5
    assert told == {name: str(getattr(config, name)) for name in told}


@pytest.mark.parametrize("metric", sorted(set(re.findall(r"`(twinspire_\w+)`", PAGE))))
def test_each_metric_is_documented(metric: str) -> None:
    assert f"`{metric}`" in (ROOT / "docs" / "metrics.md").read_text()


def test_the_example_follows_from_the_formulas() -> None:
    items, text, dims = 2_000_000, 500, 256

    database = 1.5 * items * text + (4 * dims + 700) * items
    index = (2 * dims + 280) * items

    assert round(database / 1e9, 1) == 4.9
    assert round(index / 1e9, 1) == 1.6
    assert round(300 * 0.7e-3 * 2, 2) == 0.42
