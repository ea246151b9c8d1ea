"""The examples of docs/security.md, run in their order."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.authorities import Authority
from tests.server.keyed import STARTED_WITHIN_S, eventually
from tests.server.workspaces import COLLECTION, make_workspace

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


class Reader:
    """Somebody who types what the page says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = ""
        self.server: subprocess.Popen[bytes] | None = None
        bin_folder = str(Path(sys.executable).parent)
        self.environment = os.environ | {
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }

    def follow(self, language: str, text: str) -> str:
        """Run a block and return what it printed."""
        text = text.replace("demo", COLLECTION)
        if text.startswith("twinspire serve"):
            return self._serve(text.replace("--port 50051", "--port 0"))
        if text.startswith("openssl") and shutil.which("openssl") is None:
            return self._certify()
        text = text.replace("50051", self.port)
        command = ["bash", "-e", "-c", text] if language == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, f"{text}\n{done.stderr}"
        return done.stdout

    def _serve(self, text: str) -> str:
        output = self.folder / "output"
        with output.open("wb") as out:
            self.server = subprocess.Popen(
                ["bash", "-c", f"exec {text}"], cwd=self.folder, env=self.environment, stdout=out, stderr=out
            )
        assert eventually(lambda: "serving 1 collections" in output.read_text(), STARTED_WITHIN_S), (
            output.read_text()
        )
        self.port = re.findall(r"serving 1 collections on \S+:(\d+)", output.read_text())[0]
        return output.read_text()

    def _certify(self) -> str:
        pair = (authority := Authority(self.folder / "made")).issue("server")
        pair.key.replace(self.folder / "server.key")
        (self.folder / "server.pem").write_bytes(pair.cert.read_bytes() + authority.file.read_bytes())
        return ""


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    make_workspace(tmp_path / "workspace").close()
    reader = Reader(tmp_path)
    yield reader
    if reader.server is not None:
        reader.server.kill()
        reader.server.wait()


@pytest.mark.slow
def test_the_pages_examples_work(reader: Reader) -> None:
    printed = [reader.follow(language, text) for language, text in BLOCKS]

    keys, _certificate, _server, found, stored, rotated, healthy = printed
    assert re.search(r"web +read", keys)
    assert "1.000" in found
    assert stored == "new\n"
    assert "1.000" in rotated
    assert healthy == ""
