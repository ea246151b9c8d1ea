"""What the Dockerfile and the compose file promise. No Docker runs here, so they are read and held to it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from tests.foundation.distributions import closure

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def stages() -> list[list[tuple[str, str]]]:
    """Read the Dockerfile: for each stage its instructions; what stands before the first FROM is left out."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line.split(maxsplit=1) for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    found: list[list[tuple[str, str]]] = []
    for instruction, arguments in lines:
        if instruction == "FROM":
            found.append([])
        if found:
            found[-1].append((instruction, re.sub(r"\s+", " ", arguments)))
    return found


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["twinspire"])


def values(stage: list[tuple[str, str]], instruction: str) -> list[str]:
    return [arguments for name, arguments in stage if name == instruction]


def test_base_image_is_an_exact_version() -> None:
    base = re.findall(r"^ARG PYTHON=(.+)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)

    assert len(base) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", base[0])


def test_what_builds_the_image_does_not_stay_in_it(stages: list[list[tuple[str, str]]]) -> None:
    assert len(stages) == 2
    assert values(stages[-1], "COPY") == ["--from=build /opt/twinspire /opt/twinspire"]


def test_image_is_built_with_the_constraints(stages: list[list[tuple[str, str]]]) -> None:
    installs = [command for command in values(stages[0], "RUN") if "pip install" in command]

    assert installs
    assert all("constraint" in command.lower() for command in installs)


def test_image_has_every_room(stages: list[list[tuple[str, str]]]) -> None:
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    allowed = {
        line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    }

    assert {f"{room} {room}" for room in rooms} <= set(values(stages[0], "COPY"))
    assert rooms <= allowed


def test_build_context_leaves_out_everything_else() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]

    assert rules[0] == "*"


def test_image_runs_as_nobody_in_particular(stages: list[list[tuple[str, str]]]) -> None:
    assert values(stages[-1], "USER") == ["10001:10001"]


def test_image_stops_by_sigterm(stages: list[list[tuple[str, str]]]) -> None:
    assert values(stages[-1], "STOPSIGNAL") == ["SIGTERM"]


def test_image_serves_on_loopback_unless_told(stages: list[list[tuple[str, str]]]) -> None:
    assert values(stages[-1], "CMD") == ['["serve"]']


def test_image_checks_its_health_by_grpc(stages: list[list[tuple[str, str]]]) -> None:
    (check,) = values(stages[-1], "HEALTHCHECK")

    assert '"server.healthcheck"' in check


def default_extras() -> str:
    (extras,) = re.findall(r"^ARG EXTRAS=(.+)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    return str(extras)


def test_default_image_holds_no_torch() -> None:
    needed = subprocess.run(
        [sys.executable, ".ci/requirements.py", default_extras()],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()

    found = closure(Requirement(line) for line in needed)

    assert {"faiss-cpu", "redis"} <= found
    assert not found & {"torch", "transformers", "gensim", "scipy", "pandas"}


def test_container_cannot_write_but_to_its_volume(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["volumes"] == ["workspace:/data"]
    assert all("noexec" in mount and "size=" in mount for mount in service["tmpfs"])


def test_container_has_no_privileges(service: dict[str, Any]) -> None:
    assert service["user"] == "10001:10001"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & set(service)


def test_ports_are_published_on_loopback(service: dict[str, Any]) -> None:
    assert service["ports"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_container_is_bounded(service: dict[str, Any]) -> None:
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}


def test_container_is_checked_and_stopped_gently(service: dict[str, Any]) -> None:
    assert service["healthcheck"]["test"][:4] == ["CMD", "python", "-m", "server.healthcheck"]
    assert service["stop_signal"] == "SIGTERM"
    assert service["restart"] == "unless-stopped"


def test_container_runs_this_version(service: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert service["image"] == f"twinspire:{project['version']}"


def test_clear_text_beyond_loopback_is_asked_for_by_name(service: dict[str, Any]) -> None:
    assert "--insecure" in service["command"]
    comment = (ROOT / "docker-compose.yml").read_text().split("command:")[0].rsplit("image:")[-1]
    assert "--insecure accepts clear text" in comment
