from pathlib import Path

import pytest

from tests.faults.disks import NOT_RUN
from tests.server.workspaces import make_workspace


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A closed workspace whose collection is indexed and live."""
    make_workspace(tmp_path / "served").close()
    return tmp_path / "served"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end, in red, what was not tested: a skipped test is easily overlooked."""
    for why in dict.fromkeys(NOT_RUN):
        terminalreporter.write_line(f"NOT TESTED: {why}", red=True, bold=True)
