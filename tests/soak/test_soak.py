"""A minute of the soak; `make soak` takes ten."""

from pathlib import Path

import pytest

from tests.soak.soak import report, soak


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_minute_of_mixed_load_loses_nothing_and_fails_nothing(tmp_path: Path) -> None:
    checker = soak(tmp_path / "ws", seconds=60, swaps=50)

    assert checker.violations == [], report(checker)
