"""How many threads an encoder's library may take in each of several workers."""

import os

import pytest

from server.threads import share_cores, usable_cores

VARIABLE = "OMP_NUM_THREADS"


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.delenv(VARIABLE)

    share_cores(2 * usable_cores())

    assert os.environ[VARIABLE] == "1"


def test_what_the_environment_says_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "3")

    share_cores(2)

    assert os.environ[VARIABLE] == "3"
