"""The Node.js packages that the test client needs: installed by `npm ci` once, and cached."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
FILES = ("package.json", "package-lock.json", ".npmrc")
INSTALL_WITHIN_S = 240
# How npm says that there is no registry to be reached, rather than that something is wrong.
UNREACHABLE = ("ENOTFOUND", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "EAI_AGAIN", "ENETUNREACH", "E503")


class RegistryUnreachable(Exception):
    """The packages are not there, and cannot be fetched."""


def missing_programs() -> list[str]:
    """Name what has to be installed first."""
    return [program for program in ("node", "npm") if shutil.which(program) is None]


def modules() -> Path:
    """Return the folder of the packages, installing them the first time.

    Raises:
        RegistryUnreachable: if they are to be fetched and cannot be.
    """
    told = os.environ.get("TWINSPIRE_CACHE")
    cache = Path(told) if told else Path.home() / ".cache" / "twinspire"
    digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in FILES)).hexdigest()
    folder = cache / f"node-test-client-{digest[:12]}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as staged:
            _install(Path(staged))
            try:
                Path(staged).rename(folder)  # complete, or not there
            except OSError:
                if not folder.is_dir():  # else another process was first
                    raise
            Path(staged).mkdir(exist_ok=True)  # for the context to remove
    return folder / "node_modules"


def _install(folder: Path) -> None:
    for name in FILES:
        shutil.copy(HERE / name, folder)
    try:
        done = subprocess.run(
            ["npm", "ci", "--no-progress"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=INSTALL_WITHIN_S,
        )
    except subprocess.TimeoutExpired:
        raise RegistryUnreachable(f"npm ci took over {INSTALL_WITHIN_S} s") from None
    if done.returncode:
        if any(word in done.stderr for word in UNREACHABLE):
            raise RegistryUnreachable("npm ci reaches no registry")
        raise RuntimeError(f"npm ci failed: {done.stderr[-2000:]}")
