"""Models by their name on the hub, from a hub of our own on loopback."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import torch

from tests.encoders.hub_folders import clip, mert

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PROGRAM = """
import sys
from pathlib import Path
from encoders.pretrained.adding import add_encoder
from retrieval.workspace import Workspace
card = add_encoder(Workspace(Path(sys.argv[1]), create=True), "taken", "someone/model")
print(card.kind, card.training["source"], sorted(card.files))
"""


@contextmanager
def hub(folder: Path) -> Iterator[str]:
    """Serve a folder as the model `someone/model`; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            file = folder / path.rpartition("/")[2]
            if path.startswith("/api/models/someone/model/tree/"):
                content = json.dumps([_entry(each) for each in sorted(folder.iterdir())]).encode()
            elif path.startswith("/api/models/someone/model"):
                names = [{"rfilename": each.name} for each in sorted(folder.iterdir())]
                content = json.dumps({"id": "someone/model", "sha": COMMIT, "siblings": names}).encode()
            elif path.startswith("/someone/model/resolve/") and file.is_file():
                content = file.read_bytes()
            else:
                content = b""
            self.send_response(200 if content else 404)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _entry(file: Path) -> dict[str, object]:
    content = file.read_bytes()
    oid = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    return {"type": "file", "path": file.name, "size": len(content), "oid": oid}


def added(folder: Path, tmp_path: Path) -> str:
    with hub(folder) as address:
        environment = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf")}
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "workspace")],
            capture_output=True,
            text=True,
            env=environment,
            cwd=Path.cwd(),
            check=False,
        )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_a_model_of_the_hub_is_added_by_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    torch.manual_seed(0)
    clip(folder)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle that is not wanted")

    told = added(folder, tmp_path)

    assert told.split()[:2] == ["clip", "someone/model"]
    assert not list((tmp_path / "hf").rglob("pytorch_model.bin"))


def test_where_there_are_no_safetensors_the_tensors_of_torch_are_taken(tmp_path: Path) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    torch.manual_seed(0)
    mert(folder)

    assert "'model.safetensors'" in added(folder, tmp_path)
