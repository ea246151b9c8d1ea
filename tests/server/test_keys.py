import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from retrieval.errors import Conflict, InvalidInput, NewerFormat, NotFound
from server.errors import InvalidKeysFile
from server.keys import PREFIX, add_key, digest_of, read_keys, revoke_key
from server.permissions import Role


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_key_is_32_random_bytes_behind_a_name_for_scanners(file: Path) -> None:
    key = add_key(file, "web", Role.READ)

    assert key.startswith(PREFIX)
    assert len(key) == len(PREFIX) + 43


def test_the_file_holds_the_hash_and_not_the_key(file: Path) -> None:
    key = add_key(file, "web", Role.READ)

    assert key[len(PREFIX) :] not in file.read_text()
    assert read_keys(file)[0].digest == digest_of(key).hex()


def test_only_its_owner_may_open_the_file(file: Path) -> None:
    add_key(file, "web", Role.READ)
    file.chmod(0o644)
    add_key(file, "ops", Role.ADMIN)

    assert file.stat().st_mode & 0o777 == 0o600


def test_what_is_written_is_read(file: Path) -> None:
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    add_key(file, "web", Role.WRITE, expires_at=until, rate_limit=20.0)

    (key,) = read_keys(file)

    assert (key.name, key.role, key.expires_at, key.rate_limit) == ("web", Role.WRITE, until, 20.0)


def test_a_revoked_key_is_gone(file: Path) -> None:
    add_key(file, "web", Role.READ)
    add_key(file, "ops", Role.ADMIN)
    revoke_key(file, "web")

    assert [key.name for key in read_keys(file)] == ["ops"]


def test_a_name_is_taken_once(file: Path) -> None:
    add_key(file, "web", Role.READ)

    with pytest.raises(Conflict, match="revoke"):
        add_key(file, "web", Role.ADMIN)


@pytest.mark.parametrize("name", ["", "a b", "-a", "x" * 65, "a/b", "\n"])
def test_a_name_that_is_none_is_refused(file: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="name"):
        add_key(file, name, Role.READ)


@pytest.mark.parametrize("rate", [-1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(file: Path, rate: float) -> None:
    with pytest.raises(InvalidInput, match="rate_limit"):
        add_key(file, "web", Role.READ, rate_limit=rate)


def test_an_expiry_in_the_past_is_refused(file: Path) -> None:
    with pytest.raises(InvalidInput, match="time to come"):
        add_key(file, "web", Role.READ, expires_at=datetime.now(UTC) - timedelta(seconds=1))


def test_a_key_that_is_not_there_cannot_be_revoked(file: Path) -> None:
    with pytest.raises(NotFound):
        revoke_key(file, "web")


def test_two_who_add_at_once_both_have_their_key(file: Path) -> None:
    threads = [threading.Thread(target=add_key, args=(file, f"key{n}", Role.READ)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(key.name for key in read_keys(file)) == [f"key{n}" for n in range(8)]


def test_a_file_that_others_may_write_to_is_refused(file: Path) -> None:
    add_key(file, "web", Role.READ)
    file.chmod(0o622)

    with pytest.raises(InvalidKeysFile, match="others may write"):
        read_keys(file)


def test_a_file_of_a_later_version_asks_for_an_upgrade(file: Path) -> None:
    file.write_text('{"format": 2}')

    with pytest.raises(NewerFormat, match="upgrade"):
        read_keys(file)


LINE = {"name": "a", "role": "read", "sha256": "0" * 64, "created_at": "2030-01-01T00:00:00+00:00"}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"keys": 1}',
        '{"keys": [1]}',
        *(
            json.dumps({"format": 1, "keys": [LINE | change]})
            for change in (
                {"role": "root"},
                {"role": "READ"},
                {"sha256": "00"},
                {"sha256": 7},
                {"name": ""},
                {"created_at": "today"},
                {"created_at": "2030-01-01T00:00:00"},
                {"rate_limit": True},
                {"rate_limit": "9"},
                {"rate_limit": -1},
            )
        ),
        json.dumps({"format": 1, "keys": [LINE, LINE]}),
    ],
)
def test_a_file_that_is_none_is_refused(file: Path, content: str) -> None:
    file.write_text(content)

    with pytest.raises(InvalidKeysFile):
        read_keys(file)
