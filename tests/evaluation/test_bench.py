"""Benchmarks: ratios, process accounting, and each benchmark end to end on a small workspace."""

import json
import os
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from evaluation.bench.growth import sentence_windows
from evaluation.bench.index import IndexBenchOptions, bench_index
from evaluation.bench.load import Load
from evaluation.bench.processes import ServerProcess, process_tree, run_command
from evaluation.bench.result import machine_line, paired_ratio
from evaluation.bench.search import SearchBenchOptions, bench_search
from evaluation.bench.search_tables import plot
from evaluation.bench.start import bench_start
from evaluation.bench.workspaces import copy_workspace
from retrieval.errors import InternalError, ModelNotLoaded
from retrieval.items import count_items
from retrieval.publishing import live_version
from retrieval.registry import list_runs
from retrieval.workspace import Workspace
from tests.evaluation.conftest import COLLECTION, ITEMS


def test_a_ratio_is_taken_within_each_round() -> None:
    # The machine was twice as slow in the second round: that must not show.
    ratio = paired_ratio([1.1, 2.2, 1.1], [1.0, 2.0, 1.0])

    assert ratio.median == pytest.approx(1.1)
    assert ratio.low == pytest.approx(ratio.high)


def test_the_machine_is_told() -> None:
    assert "cores of" in machine_line()


def test_children_count_as_the_process() -> None:
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    try:
        assert child in process_tree(os.getpid())
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_windows_of_sentences_are_many_real_texts() -> None:
    windows = list(sentence_windows(["A b. C d! E f?", "Alone"]))

    assert windows == [
        "A b.",
        "C d!",
        "E f?",
        "Alone",
        "A b. C d!",
        "C d! E f?",
        "A b. C d! E f?",
        "A b. E f?",
    ]


def test_a_copied_workspace_serves_the_same_version(toys: Workspace, tmp_path: Path) -> None:
    copy_workspace(toys.root, tmp_path / "copy")

    with Workspace(tmp_path / "copy") as copy:
        assert count_items(copy, COLLECTION) == ITEMS
        assert live_version(copy, COLLECTION) == live_version(toys, COLLECTION)


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="import something first"):
        run_command(tmp_path / "nowhere", "collections")


def test_benchmarking_a_collection_without_an_index_says_so(tmp_path: Path) -> None:
    with Workspace(tmp_path / "empty", create=True) as ws:
        from tests.evaluation.conftest import fill

        fill(ws)

    with pytest.raises(ModelNotLoaded, match="no live index"):
        bench_search(tmp_path / "empty", COLLECTION)


@pytest.mark.slow
def test_the_load_generator_finds_what_the_index_holds(toys_root: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.json").write_text(json.dumps(["bako bemu biro", "dako demu"]))
    with ServerProcess(toys_root) as server, Load(server, processes=2) as load:
        load.prepare("text", collection=COLLECTION, texts=str(tmp_path / "texts.json"), limit=5)
        load.prepare("batch", collection=COLLECTION, texts=str(tmp_path / "texts.json"), limit=5, batch=4)
        spell = load.run("text", seconds=0.5, in_flight=4)
        timed = load.run("text", seconds=0.5, rate=50)
        batch = load.run("batch", seconds=0.5, in_flight=2)
        found, found_by_batch = load.found_ids("text"), load.found_ids("batch")

    assert not spell.errors
    assert spell.queries == len(spell.latencies_ms) > 0
    assert 10 <= timed.queries <= 40
    assert batch.queries == 4 * len(batch.latencies_ms)
    assert [len(ids) for ids in found] == [5, 5]
    assert found_by_batch == found * 2
    assert server.ready_s > 0


@pytest.mark.slow
def test_bench_search_measures_everything_it_promises(toys_root: Path) -> None:
    options = SearchBenchOptions(seconds=0.3, rounds=2, clients=(1, 4))

    body = json.loads(json.dumps(bench_search(toys_root, COLLECTION, options).to_json()))

    for name in ("text_over_vector_cpu", "batch64_over_in_process", "unary_over_in_process"):
        assert body["ratios"][name] > 0
    assert body["server"]["recall@10"] == 1
    assert len(body["filtered"]) == 9
    assert all(point["recall"] >= 0.95 for point in body["filtered"])
    assert all(not spell["errors"] for spell in body["sweep"])


@pytest.mark.slow
def test_bench_search_grows_and_draws(toys_root: Path) -> None:
    options = SearchBenchOptions(
        seconds=0.2, rounds=1, clients=(1, 4), sizes=(40, 80), workers=1, filtered=False
    )

    result = bench_search(toys_root, COLLECTION, options)

    body = json.loads(json.dumps(result.to_json()))
    assert [size["n"] for size in body["sizes"]] == [40, 80]
    assert body["ratios"] == body["sizes"][1]["ratios"]
    assert result.tables[-1].title == "Growth"
    assert ElementTree.fromstring(plot(result)).tag.endswith("svg")


@pytest.mark.slow
def test_bench_start_tells_what_a_server_takes(toys_root: Path) -> None:
    body = bench_start(toys_root, COLLECTION, workers=(1, 2), rounds=1).to_json()

    assert 0 < body["ratios"]["ready_s"] < 60
    assert [point["workers"] for point in body["starts"]] == [1, 2]
    assert all(point["used"]["anonymous_mb"] > 10 for point in body["starts"])


@pytest.mark.slow
def test_bench_index_measures_everything_it_promises(toys_root: Path) -> None:
    options = IndexBenchOptions(encoder="sharp", rounds=1, sizes=(100,))

    body = json.loads(json.dumps(bench_index(toys_root, COLLECTION, options).to_json()))

    assert body["ratios"]["indexing_over_bare"] > 0
    assert body["import_rows_per_s"] > 0
    assert body["growth"][0]["n"] == 100
    assert body["growth"][0]["found_s"] >= body["growth"][0]["upsert_s"] > 0


@pytest.mark.slow
def test_benchmarks_leave_the_workspace_as_it_was(toys_root: Path, tmp_path: Path) -> None:
    copy_workspace(toys_root, tmp_path / "copy")
    before = contents(tmp_path / "copy")

    bench_search(tmp_path / "copy", COLLECTION, SearchBenchOptions(seconds=0.2, rounds=1, clients=(1,)))

    assert contents(tmp_path / "copy") == before


def contents(root: Path) -> tuple[list[str], int, int]:
    """What a workspace holds: its index and model files, its items and its runs."""
    files = sorted(str(file) for name in ("indexes", "models") for file in (root / name).rglob("*"))
    with Workspace(root) as ws:
        return files, count_items(ws, COLLECTION), len(list_runs(ws))
