import re
from pathlib import Path

import pytest

from retrieval import failpoints
from retrieval.failpoints import failpoint

ROOT = Path(__file__).parents[2]
CALL = re.compile(r'\bfailpoint\(f?"([^"]+)"\)')


def test_every_failpoint_is_documented() -> None:
    used = {
        name.replace("{file.stem}", "FILE")
        for room in ("retrieval", "encoders", "indexer", "server")
        for file in (ROOT / room).rglob("*.py")
        for name in CALL.findall(file.read_text())
    }
    section = (ROOT / "docs" / "faults.md").read_text().split("### Failpoints")[1].split("\n## ")[0]
    documented = set(re.findall(r"`([a-zA-Z][\w-]+)`", section.split("The places:")[1]))

    assert used - documented == set()
    assert documented - used == {"manifest", "card", "tower", "corpus"}


def test_nothing_is_armed_by_itself() -> None:
    assert failpoints._armed == {}


def test_a_point_fails_at_the_time_that_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failpoints, "_armed", failpoints.parse("here:2=nomemory, there=nospace"))
    monkeypatch.setattr(failpoints, "_passed", {})

    failpoint("elsewhere")
    failpoint("here")
    with pytest.raises(MemoryError):
        failpoint("here")
    failpoint("here")
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            failpoint("there")


def test_an_unknown_action_is_refused_at_the_start() -> None:
    with pytest.raises(KeyError):
        failpoints.parse("here=explode")
