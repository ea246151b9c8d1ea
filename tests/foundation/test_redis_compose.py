"""What the compose file promises of Redis and GPUs. No Docker runs here, so it is read and held to it."""

import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from retrieval.local_redis import DOCKER_IMAGE

ROOT = Path(__file__).parents[2]
SETTINGS = ROOT / "deploy" / "redis"
SAFE = ((8, 8, 2), (8, 10, 1))  # the first of their lines without known faults of vector sets


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


@pytest.fixture(scope="module")
def nodes(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every Redis that holds data."""
    return {name: each for name, each in compose["services"].items() if re.fullmatch(r"redis(-\d)?", name)}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deploy") / "secrets"
    make(folder)
    return folder


def make(folder: Path) -> None:
    script = SETTINGS / "make_secrets.py"
    subprocess.run([sys.executable, str(script), "--folder", str(folder)], check=True)


def settings(name: str) -> dict[str, str]:
    lines = [line.split(maxsplit=1) for line in (SETTINGS / name).read_text().splitlines()]
    return {line[0]: line[1] for line in lines if len(line) == 2 and not line[0].startswith("#")}


def test_redis_is_an_exact_patched_version(nodes: dict[str, dict[str, Any]]) -> None:
    images = {node["image"] for node in nodes.values()}

    assert len(images) == 1
    found = re.fullmatch(r"redis:(8)\.(\d+)\.(\d+)(-\w+)?(@sha256:[0-9a-f]{64})?", images.pop())
    assert found is not None
    version = tuple(int(found[part]) for part in (1, 2, 3))
    assert version >= SAFE[1] or SAFE[0] <= version < (8, 9, 0)


def test_tests_would_run_the_same_image(nodes: dict[str, dict[str, Any]]) -> None:
    assert {node["image"] for node in nodes.values()} == {DOCKER_IMAGE}


def test_redis_runs_only_where_it_is_asked_for(compose: dict[str, Any]) -> None:
    profiles = {name: each.get("profiles", []) for name, each in compose["services"].items()}

    assert profiles["twinspire"] == []
    assert profiles["redis"] == ["redis"]
    assert [profiles[f"redis-{number}"] for number in range(1, 7)] == [["cluster"]] * 6
    assert profiles["redis-cluster"] == ["cluster"]
    assert profiles["twinspire-gpu"] == ["gpu"]


def test_redis_is_durable_and_evicts_nothing() -> None:
    found = settings("redis.conf")

    assert (found["appendonly"], found["appendfsync"]) == ("yes", "everysec")
    assert found["maxmemory-policy"] == "noeviction"
    assert found["maxmemory"] == "2gb"


def test_memory_is_left_for_rewriting_the_append_only_file(nodes: dict[str, dict[str, Any]]) -> None:
    assert {node["deploy"]["resources"]["limits"]["memory"] for node in nodes.values()} == {"4g"}


def test_each_redis_has_a_volume_of_its_own(
    compose: dict[str, Any], nodes: dict[str, dict[str, Any]]
) -> None:
    volumes = [[each for each in node["volumes"] if each.endswith(":/data")] for node in nodes.values()]
    names = [volume.split(":")[0] for (volume,) in volumes]

    assert len(set(names)) == len(nodes)
    assert set(names) <= set(compose["volumes"])


def test_no_redis_is_reached_from_outside(nodes: dict[str, dict[str, Any]]) -> None:
    assert [name for name, node in nodes.items() if "ports" in node] == []


def test_redis_has_no_privileges(compose: dict[str, Any], nodes: dict[str, dict[str, Any]]) -> None:
    for node in [*nodes.values(), compose["services"]["redis-cluster"]]:
        assert node["user"] == "999:999"
        assert node["read_only"] is True
        assert node["cap_drop"] == ["ALL"]
        assert node["security_opt"] == ["no-new-privileges:true"]
        assert set(node["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
        assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & set(node)


def test_redis_is_checked_by_a_user_that_may_only_be_checked(nodes: dict[str, dict[str, Any]]) -> None:
    for node in nodes.values():
        (check,) = node["healthcheck"]["test"][1:]
        assert "redis://health:none@127.0.0.1:6379 ping" in check
    (health,) = [line for line in rules() if line.startswith("user health ")]
    assert health.split()[2:] == ["on", "nopass", "resetkeys", "resetchannels", "-@all", "+ping"]


def rules() -> list[str]:
    return (SETTINGS / "users.acl").read_text().splitlines()


def test_nobody_comes_in_without_a_name() -> None:
    assert "user default off resetpass resetkeys resetchannels -@all" in rules()


def test_the_server_may_do_nothing_by_category() -> None:
    (rule,) = [line for line in rules() if line.startswith("user twinspire ")]
    words = rule.split()

    assert "~twinspire:*" in words
    assert "-@all" in words
    assert [word for word in words if word.startswith("+@")] == []
    for dangerous in (
        "keys",
        "flushall",
        "flushdb",
        "config",
        "debug",
        "shutdown",
        "acl",
        "module",
        "migrate",
    ):
        assert f"+{dangerous}" not in words


def test_no_password_is_committed() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "deploy"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    ignored = subprocess.run(
        ["git", "check-ignore", "deploy/redis/secrets/users.acl"], cwd=ROOT, check=False, capture_output=True
    )

    assert "secrets/" not in listed
    assert ignored.returncode == 0
    assert not re.search(r"[>#][0-9A-Za-z_-]{20,}", (SETTINGS / "users.acl").read_text())


def test_secrets_are_made_for_everybody_that_needs_one(compose: dict[str, Any], secrets: Path) -> None:
    mounted = re.findall(r"deploy/redis/secrets/([\w.]+)", (ROOT / "docker-compose.yml").read_text())

    assert mounted
    assert {name for name in mounted if (secrets / name).suffix} <= {file.name for file in secrets.iterdir()}
    assert (secrets / "single.env").read_text().startswith("TWINSPIRE_REDIS_URL=redis://twinspire:")
    assert compose["services"]["twinspire"]["env_file"][0]["required"] is False


def test_secrets_are_kept_from_others_and_made_once(secrets: Path) -> None:
    before = (secrets / "users.acl").read_text()
    make(secrets)

    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert (secrets / "users.acl").read_text() == before


def test_two_folders_of_secrets_share_no_password(secrets: Path, tmp_path: Path) -> None:
    make(tmp_path / "other")

    assert (tmp_path / "other" / "admin.password").read_text() != (secrets / "admin.password").read_text()


def test_the_cluster_has_three_primaries_with_a_replica_each(compose: dict[str, Any], secrets: Path) -> None:
    command = compose["services"]["redis-cluster"]["command"][-1]
    addresses = {
        compose["services"][f"redis-{number}"]["networks"]["redis-cluster"]["ipv4_address"]
        for number in range(1, 7)
    }

    assert "--cluster-replicas 1" in command
    assert set(re.findall(r"([\d.]+):6379", command)) == addresses
    named = re.findall(r"redis-\d", (secrets / "cluster.env").read_text())
    assert named == [f"redis-{number}" for number in range(1, 7)]
    assert set(compose["services"]["redis-cluster"]["depends_on"]) == set(named)


def test_the_nodes_are_called_as_the_server_calls_them(nodes: dict[str, dict[str, Any]]) -> None:
    for name, node in nodes.items():
        if name != "redis":
            assert node["command"][-2:] == ["--cluster-announce-hostname", name]
    assert settings("cluster.conf")["cluster-preferred-endpoint-type"] == "hostname"


def test_a_cluster_fails_over_within_five_seconds_and_answers_in_part() -> None:
    found = settings("cluster.conf")

    assert int(found["cluster-node-timeout"]) <= 1500
    assert found["cluster-require-full-coverage"] == "no"


def test_a_gpu_is_asked_for_by_name(compose: dict[str, Any]) -> None:
    service = compose["services"]["twinspire-gpu"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]

    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert service["build"]["args"]["EXTRAS"].split(",")[0] == "gpu"
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["cap_drop"] == ["ALL"]
