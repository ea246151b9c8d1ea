"""The manifests: valid by Kubernetes' own schema, and as locked as they say."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from server.app import SERVICES
from server.config import ServerConfig
from twinspire.commands.bundles import import_bundle_command
from twinspire.commands.serve import serve_command

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
# Of the Prometheus operator and of kustomize, which that schema does not know.
FOREIGN = {"servicemonitor.yaml", "kustomization.yaml"}


def read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((FOLDER / name).read_text()))


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return dict(json.loads(Path(__file__).with_name("kubernetes-1.34.json").read_text()))


@pytest.fixture(scope="module")
def pod() -> dict[str, Any]:
    return dict(read("deployment.yaml")["spec"]["template"]["spec"])


@pytest.fixture(scope="module")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    return dict(pod["containers"][0])


def validate(manifest: dict[str, Any], schema: dict[str, Any]) -> None:
    definition = {"$ref": f"#/definitions/{manifest['kind']}", "definitions": schema["definitions"]}
    jsonschema.Draft202012Validator(definition).validate(manifest)


@pytest.mark.parametrize("name", sorted({it.name for it in FOLDER.glob("*.yaml")} - FOREIGN))
def test_each_manifest_is_valid(name: str, schema: dict[str, Any]) -> None:
    validate(read(name), schema)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("spec", "replicaz"), 2),
        (("spec", "replicas"), "two"),
        (("spec", "template", "spec", "containers", 0, "livenessProbe", "grpc", "port"), "grpc"),
        (("spec", "template", "spec", "containers", 0, "imagePulPolicy"), "Always"),
    ],
)
def test_the_schema_finds_a_mistake(schema: dict[str, Any], where: tuple[Any, ...], value: Any) -> None:
    manifest: Any = read("deployment.yaml")
    place = manifest
    for step in where[:-1]:
        place = place[step]
    place[where[-1]] = value

    with pytest.raises(jsonschema.ValidationError):
        validate(manifest, schema)


def test_kustomize_takes_every_manifest_but_the_operators() -> None:
    kustomization = read("kustomization.yaml")

    assert set(kustomization["resources"]) == {it.name for it in FOLDER.glob("*.yaml")} - FOREIGN


def test_it_runs_this_version(pod: dict[str, Any]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    images = {it["image"] for it in [*pod["initContainers"], *pod["containers"]]}
    assert images == {f"twinspire:{version}"}
    assert read("kustomization.yaml")["images"] == [{"name": "twinspire", "newTag": version}]


def test_nobody_in_particular_runs_it(pod: dict[str, Any]) -> None:
    context = pod["securityContext"]

    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert f"{context['runAsUser']}:{context['runAsGroup']}" in (ROOT / "Dockerfile").read_text()
    assert pod["automountServiceAccountToken"] is False


def test_no_container_can_write_its_root_or_gain_anything(pod: dict[str, Any]) -> None:
    for container in [*pod["initContainers"], *pod["containers"]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_nothing_of_the_host_is_mounted(pod: dict[str, Any]) -> None:
    kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}

    assert kinds <= {"emptyDir", "persistentVolumeClaim", "secret"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)


def test_what_grows_is_bounded(pod: dict[str, Any]) -> None:
    for container in [*pod["initContainers"], *pod["containers"]]:
        assert set(container["resources"]["limits"]) == {"cpu", "memory", "ephemeral-storage"}
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
    assert all("sizeLimit" in it["emptyDir"] for it in pod["volumes"] if "emptyDir" in it)


def test_each_probe_asks_a_service_that_the_server_has(container: dict[str, Any]) -> None:
    ports = {port["containerPort"] for port in container["ports"]}

    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[name]["grpc"]["service"] in SERVICES
        assert container[name]["grpc"]["port"] in ports


def test_a_server_whose_index_cannot_be_served_is_not_killed_for_it(container: dict[str, Any]) -> None:
    assert container["readinessProbe"]["grpc"]["service"] == "twinspire.v1.SearchService"
    assert container["livenessProbe"]["grpc"]["service"] != "twinspire.v1.SearchService"


def test_stopping_is_given_enough_time(pod: dict[str, Any], container: dict[str, Any]) -> None:
    wait = container["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert pod["terminationGracePeriodSeconds"] > wait + ServerConfig(workspace=Path()).shutdown_grace_s + 5


def test_it_is_served_with_keys_and_options_that_there_are(container: dict[str, Any]) -> None:
    command, *options = container["args"]
    known = {flag for parameter in serve_command.params for flag in parameter.opts}

    assert command == serve_command.name
    assert {option.split("=")[0] for option in options} <= known
    assert any(option.startswith("--keys=") for option in options)


def test_a_bundle_is_restored_by_a_command_that_there_is(pod: dict[str, Any]) -> None:
    (restore,) = pod["initContainers"]

    assert restore["args"][0] == import_bundle_command.name
    assert {it["name"] for it in restore["volumeMounts"]} <= {it["name"] for it in pod["volumes"]}


def test_everything_finds_the_pods() -> None:
    labels = read("deployment.yaml")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        read("deployment.yaml")["spec"]["selector"]["matchLabels"],
        read("service.yaml")["spec"]["selector"],
        read("poddisruptionbudget.yaml")["spec"]["selector"]["matchLabels"],
        read("networkpolicy.yaml")["spec"]["podSelector"]["matchLabels"],
        read("servicemonitor.yaml")["spec"]["selector"]["matchLabels"],
    ]

    assert all(selector.items() <= labels.items() for selector in selectors)
    assert read("service.yaml")["metadata"]["labels"].items() >= selectors[-1].items()


def test_ports_have_one_name_everywhere(container: dict[str, Any]) -> None:
    names = {port["name"] for port in container["ports"]}
    allowed = {
        port["port"] for rule in read("networkpolicy.yaml")["spec"]["ingress"] for port in rule["ports"]
    }

    assert {port["targetPort"] for port in read("service.yaml")["spec"]["ports"]} == names
    assert allowed == names
    assert {it["port"] for it in read("servicemonitor.yaml")["spec"]["endpoints"]} <= names


def test_one_replica_stays_when_a_node_is_drained() -> None:
    replicas = read("deployment.yaml")["spec"]["replicas"]

    assert replicas > read("poddisruptionbudget.yaml")["spec"]["maxUnavailable"]
    assert read("deployment.yaml")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_only_what_is_named_goes_in_and_out() -> None:
    spec = read("networkpolicy.yaml")["spec"]

    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    assert all(rule.get("from") for rule in spec["ingress"])
    assert all(rule.get("to") and rule.get("ports") for rule in spec["egress"])


def test_what_the_manifests_need_is_told() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    pod = read("deployment.yaml")["spec"]["template"]["spec"]
    needed = [
        it["persistentVolumeClaim"]["claimName"] for it in pod["volumes"] if "persistentVolumeClaim" in it
    ]
    needed += [it["secret"]["secretName"] for it in pod["volumes"] if "secret" in it]

    assert needed
    assert all(re.search(rf"`{name}`", page) for name in needed)
