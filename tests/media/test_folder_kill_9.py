"""kill -9 in the import of a folder: it resumes, and its decoding processes end with it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from retrieval.failpoints import FAILPOINT_VARIABLE
from retrieval.workspace import Workspace
from tests.faults.crashes import check_consistency, digest
from tests.media.files import picture

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from pathlib import Path
from indexer import folder_import
from retrieval.workspace import Workspace
folder_import.BATCH_FILES = 2
root, folder = map(Path, sys.argv[1:])
with Workspace(root, create=True) as ws:
    folder_import.import_folder(ws, "c", folder)
"""


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures, and two files that are none."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(6):
        (folder / f"{number}.png").write_bytes(picture(colour=(number, 0, 0)))
    for name in ("bad.png", "9.png"):
        (folder / name).write_bytes(b"GIF89a")
    captions = "".join(f"{number}.png,number {number}\n" for number in range(6))
    (folder / "metadata.csv").write_text(f"file,caption\n{captions}")
    return folder


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What an import that nobody kills leaves."""
    root = tmp_path_factory.mktemp("whole") / "ws"
    assert import_it(root, folder) == 0
    return digest(root)


def import_it(root: Path, folder: Path, failpoint: str = "") -> int:
    """Import in a process of its own; return its exit status, negative = the signal that ended it."""
    environment = os.environ | {FAILPOINT_VARIABLE: failpoint, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(root), str(folder)], env=environment, check=False
    ).returncode


@pytest.mark.parametrize("failpoint", ["import-batch-not-committed:2", "import-batch-committed:2"])
def test_kill_9_of_a_folders_import_resumes_to_the_same_digest(
    tmp_path: Path, folder: Path, whole: str, failpoint: str
) -> None:
    before = decoding_processes()
    assert import_it(tmp_path / "ws", folder, failpoint) == -signal.SIGKILL
    left = decoding_processes() - before
    assert digest(tmp_path / "ws") != whole

    assert import_it(tmp_path / "ws", folder) == 0

    assert digest(tmp_path / "ws") == whole
    with Workspace(tmp_path / "ws") as ws:
        check_consistency(ws, "c")
    assert not left & decoding_processes()  # they ended with the job


def decoding_processes() -> set[int]:
    """Find the decoding processes of this machine."""
    return {
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if "encoders.media.child" in " ".join(process.info["cmdline"] or ())
    }
