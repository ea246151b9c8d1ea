"""Progress in a pipe: lines in the order of what happened."""

import pytest

from indexer.progress import Progress
from twinspire.progress import ProgressDisplay


def test_a_stage_that_is_through_is_told_before_the_line_after_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ProgressDisplay() as progress:
        progress(Progress("fetch", 3, 3))
        progress.line("  training")
        progress(Progress("corpus", 1, 300))
        progress.line("  epoch 1")

    told = [line.split(",")[0] for line in capsys.readouterr().err.splitlines()]
    assert told == ["  fetch: 3 of 3", "  training", "  epoch 1", "  corpus: 1 of 300"]
