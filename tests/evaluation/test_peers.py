"""The benchmark of peers, with a small real engine in the place of theirs."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from evaluation.bench.peers.comparison import PeersBenchOptions, bench_peers, compare
from evaluation.bench.peers.data import FILTERS, PeerData, make_data
from evaluation.bench.peers.driver import Below, cpu_s, memory_mb
from evaluation.bench.peers.drivers import DriverProcess
from evaluation.bench.peers.environments import PEERS, Peer, import_path, interpreter
from evaluation.bench.peers.measuring import measure_peer
from evaluation.bench.result import markdown
from retrieval.errors import BackendUnavailable, InternalError, InvalidInput

ENGINE = Peer("exact", "in process", "tests.evaluation.peer_engine", server=False)
MISSING = Peer("missing", "nowhere", "no.such.module")


@pytest.fixture(scope="module")
def data() -> PeerData:
    random = np.random.default_rng(0)
    rows = random.standard_normal((2100, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return make_data(rows[:2000], rows[2000:])


def truth(data: PeerData, below: Below | None, limit: int = 10) -> list[list[int]]:
    scores = data.queries @ data.vectors.T
    if below is not None:
        scores[:, data.attributes[:, ("bucket", "region").index(below.attribute)] >= below.value] = -9
    return np.argsort(-scores, axis=1)[:, :limit].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("below", FILTERS.values(), ids=FILTERS)
def test_the_true_neighbours_have_recall_1(data: PeerData, below: Below | None) -> None:
    assert data.recall(truth(data, below), below) == 1


def test_half_of_them_have_recall_one_half(data: PeerData) -> None:
    assert data.recall(truth(data, None, limit=5), None) == 0.5


def test_what_does_not_match_the_filter_is_no_hit(data: PeerData) -> None:
    assert data.recall(truth(data, None), Below("bucket", 10)) < 0.2


def test_a_row_found_twice_counts_once(data: PeerData) -> None:
    assert data.recall([[rows[0]] * 10 for rows in truth(data, None)], None) == pytest.approx(0.1)


def test_one_percent_of_a_region_lies_together(data: PeerData) -> None:
    region = data.vectors[data.attributes[:, 1] < 10]

    assert len(region) == 20
    assert (region @ region.T).mean() > 0.5


def test_an_engine_is_measured_at_its_default_and_at_the_recall(data: PeerData) -> None:
    figures = measure_peer(ENGINE, data, recall_target=0.45, seconds=0.1, on_step=lambda step: None)

    assert figures.missing == ""
    assert figures.versions.startswith("numpy")
    assert figures.default is not None
    assert figures.matched is not None
    assert figures.default.recall == 1
    assert (figures.matched.effort, figures.matched.recall >= 0.45) == (1000, True)
    assert figures.matched.qps > 0
    assert 0 < figures.matched.p50_ms <= figures.matched.p99_ms
    assert set(figures.filtered) == {name for name, below in FILTERS.items() if below}


def test_a_recall_that_no_setting_reaches_is_told(data: PeerData) -> None:
    figures = measure_peer(ENGINE, data, recall_target=0.99, seconds=0.1, on_step=lambda step: None)

    assert figures.matched is None
    assert figures.best_recall == 1  # at the default


def test_a_peer_that_cannot_be_had_is_shown_with_the_reason(data: PeerData) -> None:
    options = PeersBenchOptions(seconds=0.1, recall_target=0.45)

    result = compare([ENGINE, MISSING], data, options, lambda step: None)

    assert result.tables[-1].title == "Not measured"
    ((name, _, reason),) = result.tables[-1].rows
    assert name == "missing"
    assert "no.such" in reason or "No module named" in reason
    assert "| exact |" in markdown(result)
    json.dumps(result.to_json(), allow_nan=False)


def test_an_engine_that_fails_is_shown_with_the_reason(
    data: PeerData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BREAK", "start")

    figures = measure_peer(ENGINE, data, recall_target=0.5, seconds=0.1, on_step=lambda step: None)

    assert figures.missing == "RuntimeError: no engine here"


def test_a_driver_goes_on_after_a_failed_order(tmp_path: Path) -> None:
    with DriverProcess(ENGINE, tmp_path) as driver:
        with pytest.raises(InternalError, match="unknown order"):
            driver.order("dance")

        assert driver.order("start", folder=str(tmp_path))["efforts"] == [10, 100, 1000]


def test_what_cannot_be_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINSPIRE_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))

    with pytest.raises(BackendUnavailable, match="no-such-peer"):
        interpreter(Peer("none", "nowhere", "x", ("no-such-peer==1.0",)))


def test_a_peers_interpreter_sees_its_driver_and_nothing_else_of_ours(tmp_path: Path) -> None:
    folder = Path(import_path(Peer("x", "y", "z", ("a==1",)), tmp_path))

    assert [file.name for file in folder.iterdir()] == ["evaluation"]
    assert (folder / "evaluation" / "bench" / "peers" / "chroma.py").is_file()


def test_every_peer_is_pinned() -> None:
    assert all("==" in requirement for peer in PEERS for requirement in peer.requirements)


def test_a_peer_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="'weaviate' is not known"):
        bench_peers(tmp_path, "c", PeersBenchOptions(only=("weaviate",)))


def test_memory_and_cpu_of_a_process_and_its_children_are_told() -> None:
    child = subprocess.Popen(["sleep", "5"])
    try:
        assert memory_mb([os.getpid()]) > 20
        assert cpu_s([os.getpid()]) > 0
        assert memory_mb([child.pid]) > 0
    finally:
        child.kill()
        child.wait()
