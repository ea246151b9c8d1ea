"""Makes or refreshes the environment that the Makefile's commands run in.

`python3 .ci/environment.py FOLDER EXTRAS`, run from the root. Any Python 3 can start it: where that one is
too old it finds a newer one, or says what to install.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

OLDEST = (3, 11)
TRIED_FIRST = (3, 13)  # the newest for which every dependency has a built wheel
ATTEMPTS = 3


def choose_python() -> None:
    """Go on with the best Python on PATH: an oldest-to-tried one before a newer one before none."""
    here = sys.version_info[:2]
    if OLDEST <= here <= TRIED_FIRST:
        return
    for minor in range(TRIED_FIRST[1], OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found:
            os.execv(found, [found, *sys.argv])
    if here < OLDEST:
        sys.exit(
            f"Error: Twinspire needs Python 3.11 or newer, and {sys.executable} is {here[0]}.{here[1]}.\n"
            "Install one, or name the one to use: make test PYTHON=python3.12"
        )


def make_venv(folder: Path) -> None:
    """Make the virtual environment unless a working one is there."""
    python = folder / "bin" / "python"
    if (
        python.exists()
        and subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0
    ):
        return
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", folder], capture_output=True, text=True)
    if made.returncode != 0:
        sys.exit(
            f"{made.stdout}{made.stderr}\nError: {sys.executable} cannot make a virtual environment.\n"
            "Install what it lacks (Debian and Ubuntu: the package python3-venv) and run make again."
        )


def install(folder: Path, extras: str, log: Path) -> bool:
    """Run pip once; True if it succeeded. Shows one line of progress, and keeps pip's words in a log."""
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--no-input", "--progress-bar=off"]
    command += ["--retries=8", "--constraint=constraints.txt", f"--editable=.[{extras}]"]
    settings = {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUNBUFFERED": "1"}
    for name in ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT"):  # an older and a newer pip's name for builds
        settings[name] = str(Path("constraints.txt").resolve())
    pip = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        env={**os.environ, **settings},
    )
    seen = 0
    with log.open("w") as kept:
        for line in pip.stdout or ():
            kept.write(line)
            words = line.split()
            if line.startswith("Collecting "):
                seen += 1
                show(f"  {seen} packages found, now {words[1]}")
            elif line.startswith("Installing collected packages"):
                show(f"  unpacking {len(words) - 3} packages")
    show("")
    return pip.wait() == 0


def show(text: str) -> None:
    """Rewrite the line of progress, where someone is looking."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text[:78]}")
        sys.stderr.flush()


def main() -> None:
    """Make the environment, trying again when the network fails."""
    choose_python()
    folder, extras = Path(sys.argv[1]), sys.argv[2]
    sys.stderr.write(f"Installing Twinspire and what it needs into {folder} (once, about two minutes) ...\n")
    started = time.monotonic()
    make_venv(folder)
    log = folder / "install.log"
    for attempt in range(1, ATTEMPTS + 1):
        if install(folder, extras, log):
            sys.stderr.write(f"Installed in {time.monotonic() - started:.0f} s.\n")
            return
        if attempt < ATTEMPTS:
            sys.stderr.write(f"The installation failed; trying again ({attempt} of {ATTEMPTS - 1}) ...\n")
            time.sleep(5 * attempt)
    tail = "".join(log.read_text().splitlines(keepends=True)[-20:])
    sys.exit(f"{tail}\nError: the installation failed. See {log}; make goes on from here.")


if __name__ == "__main__":
    main()
