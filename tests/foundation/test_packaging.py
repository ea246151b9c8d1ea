"""The distribution: its pins, its version, its extras, and what the Makefile installs."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.foundation.distributions import closure

ROOT = Path(__file__).parents[2]
EXTRAS = {
    "cpu",
    "gpu",
    "train",
    "hf",
    "audio",
    "image",
    "video",
    "redis",
    "onnx",
    "otel",
    "ray",
    "parquet",
    "native",
    "dev",
}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines), "pin exactly"
    return {canonicalize_name(name): pinned for name, pinned in (line.split("==") for line in lines)}


def test_extras_are_the_documented_ones(project: dict[str, Any]) -> None:
    assert set(project["optional-dependencies"]) == EXTRAS


def test_everything_that_an_extra_names_is_pinned(project: dict[str, Any], pins: dict[str, str]) -> None:
    lines = [
        *project["dependencies"],
        *(line for lines in project["optional-dependencies"].values() for line in lines),
    ]
    named = {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}

    assert set(named) - set(pins) == set()
    assert [name for name, one in named.items() if not one.specifier.contains(pins[name])] == []


def test_everything_that_is_pulled_in_is_pinned(project: dict[str, Any], pins: dict[str, str]) -> None:
    extras = ",".join(project["optional-dependencies"])

    assert closure([Requirement(f"twinspire[{extras}]")]) - set(pins) - {"twinspire", "pip"} == set()


def test_what_is_installed_is_what_is_pinned(pins: dict[str, str]) -> None:
    installed = closure([Requirement(f"twinspire[{installed_extras()}]")]) - {"twinspire", "pip"}

    other = {
        name: version(name)
        for name in installed
        if is_installed(name) and public(version(name)) != pins[name]
    }

    assert other == {}, "run make again: constraints.txt has changed"


def test_pins_agree_with_each_other(pins: dict[str, str]) -> None:
    clashes = [
        f"{name} needs {line}"
        for name in pins
        if is_installed(name)
        for line in requires(name) or ()
        if (needed := Requirement(line)).marker is None and canonicalize_name(needed.name) in pins
        if not needed.specifier.contains(pins[canonicalize_name(needed.name)], prereleases=True)
    ]

    assert clashes == []


def test_every_room_is_packed(project: dict[str, Any]) -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}

    assert rooms <= set(config["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert rooms == set(config["tool"]["importlinter"]["root_packages"])
    assert rooms | {"tests", ".ci"} == set(config["tool"]["mypy"]["files"])


def test_init_files_are_empty_but_the_public_one() -> None:
    full = [
        path for path in ROOT.glob("*/**/__init__.py") if path.stat().st_size and ".venv" not in path.parts
    ]

    assert [str(path.relative_to(ROOT)) for path in full] == ["twinspire/__init__.py"]


def test_the_changelog_tells_of_this_version(project: dict[str, Any]) -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)

    assert project["version"] in headings


def test_it_cannot_be_published_by_accident(project: dict[str, Any]) -> None:
    assert "Private :: Do Not Upload" in project["classifiers"]


def test_ci_runs_the_command_of_the_readme() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()


def test_the_makefile_offers_what_its_help_names() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r'@echo "make (\w+)', makefile))

    assert {"demo", "test", "check", "bench", "proto"} <= named
    assert named <= set(re.findall(r"^(\w+):", makefile, flags=re.MULTILINE))


def test_an_old_python_is_told_what_to_do(tmp_path: Path) -> None:
    old = "import runpy, sys; sys.version_info = (3, 8, 1); sys.argv = ['x', 'v', 'cpu']"
    answer = subprocess.run(
        [sys.executable, "-c", f"{old}; runpy.run_path('.ci/environment.py', run_name='__main__')"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert answer.returncode == 1
    assert "needs Python 3.11 or newer" in answer.stderr
    assert "is 3.8" in answer.stderr


def public(text: str) -> str:
    """Leave out the local part, such as `+cpu`."""
    return Version(text).public


def is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def installed_extras() -> str:
    makefile = (ROOT / "Makefile").read_text()
    found = re.search(r"^EXTRAS := (.+)$", makefile, flags=re.MULTILINE)
    assert found is not None
    return found[1]
