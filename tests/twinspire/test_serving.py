"""The commands around a live index: serve, search, listings, doctor, in process and over the network."""

import json
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from retrieval.judgements import JudgedQuery, assign_splits, put_judged_queries
from retrieval.workspace import Workspace
from tests.server.workspaces import COLLECTION, build_version, make_workspace
from twinspire import Client, errors
from twinspire.child_server import child_server
from twinspire.cli import run
from twinspire.hits import show_result
from twinspire.judged import load_judged
from twinspire.session import Session

QUERIES = [JudgedQuery(str(n), text, "test", {text: 1, "far": 0}) for n, text in enumerate(["north", "red"])]


@pytest.fixture(scope="module")
def compass(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a live index and judged queries, only read."""
    root = tmp_path_factory.mktemp("compass")
    with make_workspace(root) as ws:
        put_judged_queries(ws, COLLECTION, QUERIES)
        assign_splits(ws, COLLECTION)
    return root


@pytest.fixture(scope="module")
def target(compass: Path) -> Iterator[str]:
    """A server in a process of its own, started by `twinspire serve`."""
    with child_server(compass) as target:
        yield target


def json_of(capsys: pytest.CaptureFixture[str], workspace: Path, *arguments: str) -> Any:
    capsys.readouterr()
    assert run(["--workspace", str(workspace), *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_search_in_process_gives_the_promised_json(compass: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = json_of(capsys, compass, "search", "north", "--collection", COLLECTION, "--limit", "2")

    first = body["hits"][0]
    assert (first["id"], first["rank"], first["text"]) == ("north", 1, "north")
    assert first["attributes"] == {"length": 5}
    assert first["relevant"] is True
    assert body["index_version"].startswith("000001-")
    assert len(body["encoder_fingerprint"]) == 64
    assert body["timing"]["total_ms"] > 0


def test_a_server_answers_as_the_workspace_does(
    compass: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    here = json_of(capsys, compass, "search", "red north", "--hybrid", "--filter", "length < 9")
    there = json_of(
        capsys, compass, "search", "red north", "--hybrid", "--filter", "length < 9", "--server", target
    )

    assert here["hits"] == there["hits"]


def test_a_search_shows_a_table_with_the_relevant_marked(
    compass: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--workspace", str(compass), "search", "red"]) == 0

    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == "red"
    assert "1.000   ✓   red" in printed
    assert "1 of 1 relevant found" in printed
    assert "\x1b" not in printed


def test_a_search_that_is_no_judged_query_marks_nothing(
    compass: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--workspace", str(compass), "search", "blue"]) == 0

    assert "✓" not in capsys.readouterr().out


def test_a_file_of_queries_gives_a_list(
    compass: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "queries.txt").write_text("north\n\nred\n")

    body = json_of(capsys, compass, "search", f"@{tmp_path / 'queries.txt'}")

    assert [answer["query"] for answer in body] == ["north", "red"]


def test_more_like_an_item(compass: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = json_of(capsys, compass, "search", "--item", "north", "--limit", "1")

    assert [hit["id"] for hit in body["hits"]] == ["north-east"]


def test_explanations_are_in_the_json(compass: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = json_of(capsys, compass, "search", "red", "--explain", "--limit", "1")

    assert body["hits"][0]["explanation"]["source"] == "index"


def test_without_text_and_without_a_terminal_search_says_what_to_give(
    compass: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--workspace", str(compass), "search"]) == 1

    assert "give TEXT, @FILE or --item" in capsys.readouterr().err


def test_a_blank_line_at_the_prompt_is_a_random_test_query(compass: Path) -> None:
    judged = load_judged(Session(compass), COLLECTION)

    assert {judged.meant("", random.Random(seed)) for seed in range(20)} == {"north", "red"}


@pytest.mark.parametrize(("line", "meant"), [("1", "red"), ("#1", "red"), ("a red house", "a red house")])
def test_a_line_at_the_prompt_is_an_id_or_a_text(compass: Path, line: str, meant: str) -> None:
    judged = load_judged(Session(compass), COLLECTION)

    assert judged.meant(line, random.Random(0)) == meant


def test_an_unknown_id_at_the_prompt_says_so(compass: Path) -> None:
    with pytest.raises(errors.NotFound, match="no judged query '99'"):
        load_judged(Session(compass), COLLECTION).meant("99", random.Random(0))


def test_scores_are_coloured_on_a_terminal(compass: Path, target: str) -> None:
    console = Console(force_terminal=True, color_system="standard", width=80, record=True)
    with Client(target) as client, console.capture() as captured:
        show_result(console, "red", client.search(COLLECTION, "red blue", limit=4))

    assert "\x1b[32m0.707" in captured.get()


def test_the_collections_and_versions_are_listed(compass: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (collection,) = json_of(capsys, compass, "collections")
    (version,) = json_of(capsys, compass, "versions", COLLECTION)

    assert collection["live_version"] == version["version"]
    assert (collection["model"], collection["queries"]) == ("compass@1", 2)
    assert version["live"]


def test_models_are_listed(compass: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model,) = json_of(capsys, compass, "models")

    assert model["model"] == "compass@1"
    assert model["size_bytes"] > 0


def test_versions_are_promoted_and_rolled_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with make_workspace(tmp_path) as ws:
        second = build_version(ws)

    promoted = json_of(capsys, tmp_path, "versions", "promote", COLLECTION, second)
    back = json_of(capsys, tmp_path, "versions", "rollback", COLLECTION)
    by_model = json_of(capsys, tmp_path, "models", "promote", "compass@1", COLLECTION)

    assert promoted["live_version"] == second
    assert back["live_version"] == promoted["previous_version"]
    assert by_model["live_version"] == second


def checks_of(capsys: pytest.CaptureFixture[str], root: Path, target: str) -> dict[str, dict[str, str]]:
    capsys.readouterr()
    run(["--workspace", str(root), "doctor", "--json", "--server", target])
    return {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}


def test_the_doctor_finds_a_sound_workspace_and_its_server(
    compass: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = checks_of(capsys, compass, target)

    assert {check["state"] for check in checks.values()} == {"ok"}
    assert "ready" in checks["server"]["found"]


def test_the_doctor_finds_a_flipped_bit_and_exits_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_workspace(tmp_path).close()
    file = next((tmp_path / "indexes" / COLLECTION).glob("0*/*.npy"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)

    assert run(["--workspace", str(tmp_path), "doctor", "--server", "127.0.0.1:1"]) == 1

    printed = capsys.readouterr().out
    assert "FAILED" in printed
    assert "twinspire versions rollback" in printed


def test_the_doctor_finds_damaged_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_workspace(tmp_path).close()
    next((tmp_path / "models").rglob("*.safetensors")).write_bytes(b"")

    checks = checks_of(capsys, tmp_path, "127.0.0.1:1")

    assert checks["model compass@1"]["state"] == "failed"


def test_the_doctor_finds_items_that_are_not_indexed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_workspace(tmp_path).close()
    (tmp_path / "more.jsonl").write_text('{"id": "new", "text": "new far"}\n')
    source = str(tmp_path / "more.jsonl")
    run(["--workspace", str(tmp_path), "import", "jsonl", source, "--collection", COLLECTION])

    checks = checks_of(capsys, tmp_path, "127.0.0.1:1")

    assert "1 newer segments are not in it" in checks[f"{COLLECTION}: live"]["found"]
    assert checks[f"{COLLECTION}: live"]["remedy"].startswith(f"`twinspire index {COLLECTION}")


def test_the_doctor_knows_another_program_on_the_port(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        checks = checks_of(capsys, tmp_path / "none", f"127.0.0.1:{other.getsockname()[1]}")

    assert "another program" in checks["server"]["found"]
    assert checks["workspace"]["state"] == "warning"


def test_a_server_without_a_workspace_says_why_it_did_not_start(tmp_path: Path) -> None:
    with pytest.raises(errors.BackendUnavailable, match="there is no workspace"), child_server(tmp_path):
        pass


def test_the_port_of_another_server_is_refused(
    compass: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--workspace", str(compass), "serve", "--port", target.rpartition(":")[2]]) == 1

    assert "another server" in capsys.readouterr().err


def test_a_server_in_clear_beyond_this_machine_is_refused(
    compass: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--workspace", str(compass), "serve", "--host", "0.0.0.0"]) == 1

    assert "--insecure" in capsys.readouterr().err


def test_a_workspace_of_a_later_version_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Workspace(tmp_path, create=True) as ws, ws.atomic() as db:
        db["_sqlite_migrations"].insert(  # type: ignore[union-attr]
            {"migration_set": "twinspire", "name": "999_later", "applied_at": ""}
        )

    assert run(["--workspace", str(tmp_path), "collections"]) == 1

    assert "upgrade" in capsys.readouterr().err
