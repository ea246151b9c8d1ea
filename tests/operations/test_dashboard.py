"""The dashboard, Prometheus and its alerts: they parse, and ask for nothing that is not measured."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.metrics import Metrics
from tests.operations.promql import is_balanced, metrics_of

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
PROMETHEUS = ROOT / "deploy" / "prometheus"
# Prometheus makes it for each target.
OF_PROMETHEUS = {"up"}


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    return dict(json.loads((GRAFANA / "dashboards" / "twinspire.json").read_text()))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


@pytest.fixture(scope="module")
def measured() -> set[str]:
    """Name every series that a server can show: counters get a suffix, histograms three."""
    names = set()
    for metric in Metrics().registry.collect():
        kinds = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        names |= {f"{metric.name}{suffix}" for suffix in kinds.get(metric.type, [""])}
    return names


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def labels_of(expression: str) -> set[str]:
    inside = re.findall(r"\{([^}]*)\}", expression) + re.findall(r"\bby\s*\(([^)]*)\)", expression)
    return {name for part in inside for name in re.findall(r"\b([a-z_]+)\b(?=\s*(?:[=!]|,|$))", part)}


def test_each_metric_of_the_dashboard_is_measured(dashboard: dict[str, Any], measured: set[str]) -> None:
    asked = set().union(*map(metrics_of, expressions(dashboard)))

    assert asked - measured == set()
    assert len(asked) > 10


def test_each_metric_of_ours_is_on_the_dashboard(dashboard: dict[str, Any]) -> None:
    asked = " ".join(expressions(dashboard))

    ours = {metric.name for metric in Metrics().registry.collect() if metric.name.startswith("twinspire")}
    assert {name for name in ours if name not in asked} == set()


def test_each_metric_of_the_alerts_is_measured(measured: set[str]) -> None:
    asked = set().union(*(metrics_of(rule["expr"]) for rule in alerts()))

    assert asked - measured - OF_PROMETHEUS == set()


def test_each_label_that_is_asked_for_is_one_of_ours(dashboard: dict[str, Any]) -> None:
    known = {"method", "code", "reason", "stage", "cause", "le", "job", "instance"}

    asked = [*expressions(dashboard), *(rule["expr"] for rule in alerts())]
    assert set().union(*map(labels_of, asked)) - known == set()


def test_counters_are_asked_for_by_their_rate(dashboard: dict[str, Any]) -> None:
    bare = [
        name
        for expression in expressions(dashboard)
        for name in re.findall(r"(?<!rate\()(?<!increase\()\b(\w+_total)\b", expression)
    ]

    assert bare == []


def test_each_expression_is_balanced(dashboard: dict[str, Any]) -> None:
    asked = [*expressions(dashboard), *(rule["expr"] for rule in alerts())]

    assert [it for it in asked if not is_balanced(it)] == []


def test_each_panel_has_a_number_a_place_and_a_title(dashboard: dict[str, Any]) -> None:
    found = dashboard["panels"]

    assert len({panel["id"] for panel in found}) == len(found)
    assert all(panel["title"] for panel in found)
    for one, other in itertools.combinations([panel["gridPos"] for panel in found], 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert max(one["x"] + one["w"], other["x"] + other["w"]) <= 24


def test_each_variable_that_is_used_is_defined(dashboard: dict[str, Any]) -> None:
    defined = {variable["name"] for variable in dashboard["templating"]["list"]}

    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(dashboard["panels"])))
    assert used == defined


def test_the_data_source_is_the_provisioned_one(dashboard: dict[str, Any]) -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    chosen = next(it for it in dashboard["templating"]["list"] if it["name"] == "datasource")

    assert chosen["current"]["value"] == source["uid"]
    assert source["url"] == "http://prometheus:9090"


def test_the_dashboard_is_provisioned_where_it_is_mounted(compose: dict[str, Any]) -> None:
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/twinspire.yaml").read_text())[
        "providers"
    ]
    mounted = dict(volume.split(":")[:2] for volume in compose["services"]["grafana"]["volumes"])
    folders = {there: ROOT / here for here, there in mounted.items() if here.startswith("./")}

    assert (folders[provider["options"]["path"]] / "twinspire.json").is_file()
    assert (folders["/etc/grafana/provisioning"] / "datasources").is_dir()


def test_prometheus_scrapes_the_port_that_the_server_opens(compose: dict[str, Any]) -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    command = compose["services"]["twinspire"]["command"]

    assert job["static_configs"] == [
        {"targets": [f"twinspire:{command[command.index('--metrics-port') + 1]}"]}
    ]
    assert all((PROMETHEUS / name).is_file() for name in config["rule_files"])


def test_what_observes_runs_only_where_it_is_asked_for(compose: dict[str, Any]) -> None:
    for name in ("prometheus", "grafana"):
        assert compose["services"][name]["profiles"] == ["observability"]


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_what_observes_has_no_privileges_and_is_bounded(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]

    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", service["image"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service["user"].startswith("0")
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_the_alerts_say_what_happened() -> None:
    assert all(rule["annotations"]["summary"] and rule["for"] for rule in alerts())


def test_the_names_are_read_out_of_promql() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "doctest", "tests/operations/promql.py"], cwd=ROOT, check=False
    )

    assert done.returncode == 0
