"""Keys and TLS from the client's side, against a real server that asks for both."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.permissions import Role
from tests.server.authorities import Authority
from tests.server.keyed import roles_file
from tests.server.running import run_server
from tests.server.workspaces import COLLECTION, make_workspace
from twinspire import AsyncClient, Client, Item, RetryPolicy, Tls, errors
from twinspire.cli import run
from twinspire.connection import connection

ONCE = RetryPolicy(attempts=1)


@dataclass
class Guarded:
    """A server with TLS and keys."""

    target: str
    ca: Path
    keys: dict[Role, str]
    folder: Path


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    authority = Authority(folder / "certificates")
    pair = authority.issue("server")
    file, keys = roles_file(folder)
    with make_workspace(folder / "workspace") as ws:
        for running in run_server(ws, keys_file=file, tls_cert=pair.cert, tls_key=pair.key):
            yield Guarded(f"127.0.0.1:{running.server.port}", authority.file, keys, folder)


def client(guarded: Guarded, role: Role = Role.READ) -> Client:
    return Client(guarded.target, api_key=guarded.keys[role], tls=Tls(ca=guarded.ca))


def test_a_client_searches_with_a_key_over_tls(guarded: Guarded) -> None:
    with client(guarded) as caller:
        assert caller.search(COLLECTION, "north", limit=1).hits[0].id == "north"


def test_an_asynchronous_client_does_too(guarded: Guarded) -> None:
    async def ask() -> str:
        tls = Tls(ca=guarded.ca)
        async with AsyncClient(guarded.target, api_key=guarded.keys[Role.WRITE], tls=tls) as caller:
            await caller.upsert_many(COLLECTION, [Item("north", "north", {"length": 5})])
            return (await caller.search(COLLECTION, "north", limit=1)).hits[0].id

    assert asyncio.run(ask()) == "north"


def test_a_stream_of_upserts_carries_the_key(guarded: Guarded) -> None:
    with client(guarded, Role.WRITE) as caller:
        assert caller.upsert_many(COLLECTION, [Item("far", "far", {"length": 3})]).acknowledged == 1


def test_no_key_is_unauthenticated(guarded: Guarded) -> None:
    with (
        Client(guarded.target, tls=Tls(ca=guarded.ca)) as caller,
        pytest.raises(errors.Unauthenticated, match="Bearer"),
    ):
        caller.search(COLLECTION, "north")


def test_a_read_key_may_not_write(guarded: Guarded) -> None:
    with client(guarded) as caller, pytest.raises(errors.PermissionDenied, match="role write"):
        caller.delete_items(COLLECTION, ids=["north"])
    with client(guarded) as caller, pytest.raises(errors.PermissionDenied):
        caller.upsert_many(COLLECTION, [Item("x", "far")])


def test_health_needs_no_key(guarded: Guarded) -> None:
    with Client(guarded.target, tls=Tls(ca=guarded.ca)) as caller:
        assert caller.is_ready()


def test_clear_text_to_a_tls_server_says_what_failed(guarded: Guarded) -> None:
    with (
        Client(guarded.target, retries=ONCE) as caller,
        pytest.raises(errors.Unavailable, match="does it speak TLS"),
    ):
        caller.search(COLLECTION, "north")


def test_another_authority_says_what_failed(guarded: Guarded, tmp_path: Path) -> None:
    tls = Tls(ca=Authority(tmp_path, "other").file)

    with (
        Client(guarded.target, tls=tls, retries=ONCE) as caller,
        pytest.raises(errors.Unavailable, match="TLS failed: its certificate is not vouched for"),
    ):
        caller.search(COLLECTION, "north")


def test_the_key_comes_from_the_environment(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINSPIRE_API_KEY", guarded.keys[Role.READ])
    monkeypatch.setenv("TWINSPIRE_TLS_CA", str(guarded.ca))

    with Client(guarded.target) as caller:
        assert caller.count_items(COLLECTION) > 0


def test_the_key_comes_from_a_file_that_the_environment_names(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("twinspire_abc\n")

    made = connection("127.0.0.1:1", environment={"TWINSPIRE_API_KEY_FILE": str(tmp_path / "key")})

    assert made.metadata == (("authorization", "Bearer twinspire_abc"),)


def test_an_empty_key_sends_none(guarded: Guarded) -> None:
    assert connection("127.0.0.1:1", "", environment={"TWINSPIRE_API_KEY": "x"}).metadata is None


def test_a_key_is_not_sent_in_clear_to_another_machine() -> None:
    with pytest.raises(errors.InvalidInput, match="in clear"):
        Client("10.0.0.1:50051", api_key="twinspire_abc")


def test_a_key_is_sent_in_clear_when_told_so() -> None:
    Client("10.0.0.1:50051", api_key="twinspire_abc", tls=False).close()


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "ümlaut", "x" * 5000])
def test_what_cannot_be_a_key_is_refused_and_not_told(key: str) -> None:
    with pytest.raises(errors.InvalidInput) as caught:
        Client(api_key=key)

    assert key not in str(caught.value)


def test_the_key_is_not_in_any_repr() -> None:
    assert "secret" not in repr(connection("127.0.0.1:1", "twinspire_secret"))


def test_the_command_line_searches_with_a_key_file(
    guarded: Guarded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").write_text(guarded.keys[Role.READ] + "\n")
    there = ["--server", guarded.target, "--tls-ca", str(guarded.ca), "--api-key-file", str(tmp_path / "key")]

    assert run(["search", "north", "--json", "--limit", "1", *there]) == 0

    assert json.loads(capsys.readouterr().out)["hits"][0]["id"] == "north"


def test_the_command_line_says_how_to_give_a_key(
    guarded: Guarded, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["search", "north", "--server", guarded.target, "--tls-ca", str(guarded.ca)]) == 1

    assert "--api-key-file" in capsys.readouterr().err


def test_the_doctor_knows_a_server_that_asks_for_a_key(
    guarded: Guarded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = ["--server", guarded.target, "--tls-ca", str(guarded.ca)]
    run(["--workspace", str(tmp_path), "doctor", "--json", *server])

    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}

    assert "asks for a key" in checks["server"]["found"]


def test_a_key_is_added_listed_and_revoked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = ["--workspace", str(tmp_path), "keys"]
    assert run([*keys, "add", "web", "--role", "read", "--expires", "90d", "--rate", "50"]) == 0
    key = capsys.readouterr().out.strip()

    assert run([*keys, "list", "--json"]) == 0
    listed = capsys.readouterr().out
    assert (json.loads(listed)[0]["name"], json.loads(listed)[0]["state"]) == ("web", "in force")
    assert key not in listed
    assert run([*keys, "revoke", "web"]) == 0
    assert run([*keys, "list"]) == 0
    assert "there are no keys" in capsys.readouterr().out


def test_a_key_can_go_to_a_file_of_its_owner_instead_of_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "web.key"
    assert run(["--workspace", str(tmp_path), "keys", "add", "web", "--role", "read", "--out", str(out)]) == 0

    assert out.stat().st_mode & 0o777 == 0o600
    assert out.read_text().strip() not in "".join(capsys.readouterr())


def test_a_key_that_cannot_be_kept_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "web.key").write_text("something dear")
    add = ["--workspace", str(tmp_path), "keys", "add", "web", "--role", "read", "--out"]

    assert run([*add, str(tmp_path / "web.key")]) == 1

    assert not (tmp_path / "keys.json").exists()
    assert (tmp_path / "web.key").read_text() == "something dear"


@pytest.mark.parametrize("when", ["soon", "d", "-1d", "99999999999d", "2001-01-01"])
def test_an_expiry_that_is_none_is_refused(
    tmp_path: Path, when: str, capsys: pytest.CaptureFixture[str]
) -> None:
    add = ["--workspace", str(tmp_path), "keys", "add", "web", "--role", "read", "--expires", when]

    assert run(add) == 1


def test_the_doctor_finds_keys_that_others_may_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, _ = roles_file(tmp_path)
    doctor = ["--workspace", str(tmp_path), "doctor", "--json", "--server", "127.0.0.1:1"]
    run(doctor)
    sound = json.loads(capsys.readouterr().out)["checks"]
    file.chmod(0o666)
    run(doctor)
    open_to_all = json.loads(capsys.readouterr().out)["checks"]

    assert [check["state"] for check in sound if check["name"] == "keys"] == ["ok"]
    assert [check["state"] for check in open_to_all if check["name"] == "keys"] == ["failed"]
