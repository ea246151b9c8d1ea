import json
import logging
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.errors import InvalidInput
from server.config import InsecureAddress, ServerConfig
from server.logs import JsonFormatter
from server.metrics import Metrics
from tests.server.running import Running

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.0.0.53"])
def test_loopback_needs_no_permission(host: str) -> None:
    assert ServerConfig(workspace=Path(), host=host).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", ""])
def test_another_address_is_refused(host: str) -> None:
    with pytest.raises(InsecureAddress, match="--insecure"):
        ServerConfig(workspace=Path(), host=host)


def test_another_address_is_accepted_when_told_so() -> None:
    assert ServerConfig(workspace=Path(), host="0.0.0.0", insecure=True).insecure


@pytest.mark.parametrize("values", [{"port": -1}, {"port": 65536}, {"max_batch": 0}])
def test_numbers_out_of_range_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(InvalidInput):
        ServerConfig(workspace=Path(), **values)  # type: ignore[arg-type]


def test_metrics_are_served_on_loopback(start_server: Callable[..., Running]) -> None:
    running = start_server(metrics_port=0)
    running.find("north")

    with urllib.request.urlopen(f"http://127.0.0.1:{running.server.metrics_port}/metrics") as page:
        text = page.read().decode()

    assert 'twinspire_requests_total{code="OK",method="Search"} 1.0' in text


def test_every_metric_is_documented() -> None:
    documented = set(re.findall(r"`((?:twinspire|process)_\w+)`", (DOCS / "metrics.md").read_text()))

    assert documented == {metric.name for metric in Metrics().registry.collect()}


def test_a_log_line_is_json_with_its_fields() -> None:
    record = logging.LogRecord("twinspire.server", logging.INFO, "", 0, "version live", None, None)
    record.fields = {"version": "000001-abc"}

    line = json.loads(JsonFormatter().format(record))

    assert (line["message"], line["level"], line["version"]) == ("version live", "info", "000001-abc")


def test_a_logged_exception_does_not_quote_its_message() -> None:
    try:
        raise ValueError("the query was: secret")
    except ValueError as error:
        record = logging.LogRecord(
            "twinspire.server",
            logging.ERROR,
            "",
            0,
            "unexpected error",
            None,
            (type(error), error, error.__traceback__),
        )

    line = JsonFormatter().format(record)

    assert "secret" not in line
    assert json.loads(line)["exception"] == "ValueError"
