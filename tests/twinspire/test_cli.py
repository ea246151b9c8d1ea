"""The command line as a user meets it: output, exit codes, errors, help."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest

from twinspire.cli import COMMANDS, cli, run
from twinspire.cli_reference import help_texts, render_reference
from twinspire.complaints import complaint
from twinspire.console import show_table
from twinspire.groups import ListByDefault
from twinspire.session import Session

ROOT = Path(__file__).parents[2]
HELP_SECONDS = 0.3
BLOCK = re.compile(r"^```(?:sh|console)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*twinspire (.+)$", re.MULTILINE)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A workspace with two films and a bad row."""
    source = tmp_path / "films.jsonl"
    source.write_text(
        '{"id": "a", "text": "a heist in Paris", "year": 1990}\n'
        "not json\n"
        '{"id": "b", "text": "a love story"}\n'
    )
    workspace = tmp_path / "workspace"
    assert run(["--workspace", str(workspace), "import", "jsonl", str(source), "--collection", "films"]) == 0
    return workspace


def json_of(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_an_import_tells_what_was_good_and_what_was_bad(
    capsys: pytest.CaptureFixture[str], films: Path
) -> None:
    printed = capsys.readouterr()

    assert "films: 2 inserted, 1 rejected" in printed.out
    assert "row 2: bad JSON" in printed.err


def test_a_collection_is_deleted_only_if_that_is_meant(
    capsys: pytest.CaptureFixture[str], films: Path
) -> None:
    capsys.readouterr()
    delete = ["--workspace", str(films), "collections", "delete", "films"]

    assert run(delete) == 1
    assert "give --yes" in capsys.readouterr().err
    assert run([*delete, "--yes"]) == 0
    assert capsys.readouterr().out == "deleted films (items: 2, index versions: 0)\n"
    assert run([*delete, "--yes"]) == 1
    assert "there is no collection 'films'" in capsys.readouterr().err


def test_a_table_in_a_pipe_has_no_blanks_at_the_ends_of_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("", ["id", "text"], [["a", "a heist in Paris"], ["b", "a love story"]], empty="")

    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "b    a love story"
    assert [line for line in lines if line != line.rstrip()] == []


PRINT = """
from twinspire.console import print_json, open_streams, show_table
open_streams()
show_table("", ["id", "text"], [["a", "Preradovi\\u0107"]], empty="")
print_json(["Preradovi\\u0107"])
"""


def test_a_pipe_gets_what_it_can_hold() -> None:
    command, environment = [sys.executable, "-c", PRINT], os.environ | {"PYTHONIOENCODING": "ascii"}
    printed = subprocess.run(command, env=environment, capture_output=True, check=True).stdout.decode("ascii")

    lines = printed.splitlines()
    assert lines[2] == r"a  | Preradovi\u0107"
    assert json.loads("".join(lines[3:])) == ["Preradovi\u0107"]


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.parametrize("option", ["", "--json"])
def test_closed_streams_are_no_fault(films: Path, closed: str, option: str) -> None:
    command = f"{shlex.quote(sys.executable)} -m twinspire --workspace {films} collections {option} {closed}"

    done = subprocess.run(command, shell=True, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_collections_as_json_are_nothing_but_json(films: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()

    assert run(["--workspace", str(films), "collections", "--json"]) == 0

    (row,) = json_of(capsys)
    assert (row["name"], row["items"], row["live_version"]) == ("films", 2, "")


def test_the_workspace_can_come_from_the_environment(
    films: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWINSPIRE_WORKSPACE", str(films))
    capsys.readouterr()

    assert run(["collections", "--json"]) == 0

    assert len(json_of(capsys)) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["fly"], "there is no command 'fly'; there are import"),
        (["collections", "--fly"], "No such option"),
        (["encoders", "exports", "x"], "'export'? See `twinspire encoders --help`"),
        (["import", "jsonl", "x.jsonl"], "Missing option '--collection'"),
        (["import", "jsonl", "absent.jsonl", "--collection", "x"], "no such file"),
        (["versions", "absent"], "there is no collection 'absent'; `twinspire collections` lists"),
        (["versions", "rollback", "films"], "no version to roll back to"),
        (["models", "promote", "absent", "films"], "there is no model 'absent'; `twinspire models` lists"),
        (["search", "x", "--collection", "absent"], "there is no collection 'absent'"),
        (["search", "x", "--collection", "films"], "run `twinspire index films --encoder NAME`"),
        (["search", "x", "--server", "127.0.0.1:1", "--collection", "films"], "does not answer"),
        (["search", "x", "--server", "127.0.0.1", "--collection", "films"], "expected HOST:PORT such as"),
        (["search", "x", "--server", "no.invalid:1", "--collection", "films"], "there is no such host"),
        (["doctor", "--server", "localhost:99999"], "expected HOST:PORT such as"),
        (["search", "x", "--collection", "films", "--filter", "year >"], "filter"),
        (["bench", "redis", "--vectors", __file__], "--vectors and --queries go together"),
        (["bench", "redis", "--vectors", __file__, "--queries", __file__], "expected a .npy file"),
        (["eval", "films"], "no judged query"),
        (["eval", "films", "--compare", "a", "b", "--html", "x.html"], "--compare takes neither"),
        (["index", "films", "--encoder", "absent"], "there is no model 'absent'"),
    ],
)
def test_a_mistake_is_one_error_that_says_what_to_do(
    films: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    capsys.readouterr()

    code = run(["--workspace", str(films), *arguments])

    printed = capsys.readouterr()
    assert code == 1
    assert printed.err.splitlines()[-1].startswith("Error: ")
    assert expected in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_a_missing_workspace_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--workspace", str(tmp_path / "none"), "collections"]) == 1

    assert "import something first; check --workspace" in capsys.readouterr().err


def test_a_broken_database_says_so(films: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in films.glob("twinspire.db*"):
        file.unlink()
    (films / "twinspire.db").write_bytes(b"not a database, only words" * 100)

    assert run(["--workspace", str(films), "collections"]) == 1

    assert "restore it from a backup" in capsys.readouterr().err


def commands() -> list[str]:
    return [path for path, _ in help_texts()]


@pytest.mark.parametrize("path", commands())
def test_help_ends_with_an_example(path: str) -> None:
    text = dict(help_texts())[path]

    shown, _, example = text.rpartition("Example:\n")

    assert shown
    assert example.strip().startswith("twinspire ")


def example_lines() -> list[str]:
    return [
        line.strip()
        for _, text in help_texts()
        for line in text.rpartition("Example:\n")[2].splitlines()
        if line.strip()
    ]


def page_lines() -> list[str]:
    """The commands in the blocks of the README and of docs/."""
    return [
        f"twinspire {command}"
        for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
        if page.name != "cli.md"  # the help, whose examples are parsed already
        for block in BLOCK.findall(page.read_text())
        for command in COMMAND.findall(re.sub(r"\\\n\s*", "", block))
    ]


@pytest.mark.parametrize("line", sorted({*example_lines(), *page_lines()}))
def test_every_example_in_help_and_pages_parses(line: str) -> None:
    _, *words = shlex.split(line, comments=True)
    words = words[2:] if words[0] == "--workspace" else words
    command: click.Command = cli
    context = click.Context(cli, obj=Session())
    while isinstance(command, click.Group):
        words = command.with_default(words) if isinstance(command, ListByDefault) else words
        found = command.get_command(context, words.pop(0))
        assert found is not None
        command = found

    try:
        command.make_context(command.name, words, parent=context)
    except click.BadParameter as wrong:
        if "does not exist" not in wrong.message:  # but a file of the example need not be here
            raise


def test_the_reference_is_what_help_prints() -> None:
    written = (ROOT / "docs" / "cli.md").read_text()

    assert written == render_reference(), "run: python -m twinspire.cli_reference > docs/cli.md"


def test_every_command_of_the_table_is_there() -> None:
    assert {path.split()[1] for path in commands() if " " in path} == set(COMMANDS)


def twinspire(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "twinspire", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
        **options,
    )


def seconds_of_help() -> float:
    started = time.perf_counter()
    assert twinspire("--help").returncode == 0
    return time.perf_counter() - started


def test_help_is_quick() -> None:
    # Other work on the machine only ever adds time, so one quick run is proof.
    assert any(seconds_of_help() < HELP_SECONDS for _ in range(10))


def test_help_loads_none_of_the_heavy_packages() -> None:
    program = (
        "import sys; from twinspire.cli import run; run(['--help']);"
        "heavy = {'grpc', 'numpy', 'rich', 'faiss', 'torch', 'sqlite_utils'} & set(sys.modules);"
        "sys.exit(', '.join(heavy) or 0)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_the_client_loads_neither_faiss_nor_torch() -> None:
    program = (
        "import sys; from twinspire import AsyncClient, Client;"
        "heavy = {'faiss', 'torch', 'rich', 'click', 'sqlite_utils', 'gensim'} & set(sys.modules);"
        "sys.exit(', '.join(heavy) or 0)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_a_pipe_gets_no_colours(films: Path) -> None:
    done = twinspire("--workspace", str(films), "collections")

    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr


def test_a_reader_that_leaves_early_is_no_error(films: Path) -> None:
    command = f"{sys.executable} -m twinspire --workspace {films} collections --json | head -n 1"

    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT, check=False)

    assert done.stdout == "[\n"
    assert done.stderr == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_told_to_end_it_exits_so_and_says_how_to_go_on(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    source = tmp_path / "long.jsonl"
    source.write_text("".join(f'{{"id": "{n}", "text": "row {n}"}}\n' for n in range(100_000)))
    command = [sys.executable, "-m", "twinspire", "--workspace", str(tmp_path / "w")]
    process = subprocess.Popen(
        [*command, "import", "jsonl", str(source), "--collection", "rows"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        # Whoever runs the tests in the background lets its children ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    database = tmp_path / "w" / "twinspire.db"
    while process.poll() is None and not database.exists():
        time.sleep(0.02)
    process.send_signal(number)
    _, printed = process.communicate(timeout=30)

    assert process.returncode == code
    assert "Interrupted. What was imported is kept: run the same command again" in printed
    assert "Traceback" not in printed


def test_an_unforeseen_fault_is_named_without_a_traceback() -> None:
    said = complaint(KeyError("surprise"))

    assert "KeyError: 'surprise'" in said
    assert "TWINSPIRE_DEBUG=1" in said


def test_a_missing_package_names_its_extra() -> None:
    error = ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow")

    assert complaint(error) == "this needs the package pyarrow: pip install 'twinspire[parquet]'"
