"""Who may call what, over real calls."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc import StatusCode
from grpc_health.v1 import health_pb2

from protos.twinspire.v1 import items_pb2, search_pb2
from server.keys import add_key, read_keys, revoke_key
from server.permissions import HEALTH, PERMISSIONS, REFLECTION, Role
from tests.server.keyed import Keyed, bearer, eventually, keyed_server, roles_file
from tests.server.running import TIMEOUT_S, Failure, Running, failure_of, run_server
from tests.server.workspaces import COLLECTION, make_workspace

SEARCH = "twinspire.v1.SearchService/Search"
NOT_LET_IN = (StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED)
# Method -> the roles that may call it, written out: a change of the server's table is a change of this one.
EVERYBODY = (None, *Role)
READERS = tuple(Role)
WRITERS = (Role.WRITE, Role.ADMIN)
ADMINS = (Role.ADMIN,)
MAY_CALL = {
    "twinspire.v1.SearchService/Search": READERS,
    "twinspire.v1.SearchService/BatchSearch": READERS,
    "twinspire.v1.ItemService/UpsertItems": WRITERS,
    "twinspire.v1.ItemService/DeleteItems": WRITERS,
    "twinspire.v1.ItemService/GetItems": READERS,
    "twinspire.v1.ItemService/ListItems": READERS,
    "twinspire.v1.ItemService/CountItems": READERS,
    "twinspire.v1.EncoderService/Encode": READERS,
    "twinspire.v1.EncoderService/ListEncoders": READERS,
    "twinspire.v1.CollectionService/ListCollections": READERS,
    "twinspire.v1.CollectionService/GetCollection": READERS,
    "twinspire.v1.CollectionService/ListIndexVersions": READERS,
    "twinspire.v1.CollectionService/SetLiveVersion": ADMINS,
    "twinspire.v1.ServerService/GetServerInfo": READERS,
    f"{HEALTH}/Check": EVERYBODY,
    f"{HEALTH}/List": EVERYBODY,
    f"{HEALTH}/Watch": EVERYBODY,
    f"{REFLECTION}/ServerReflectionInfo": READERS,
}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """A server with a key of each role, only read."""
    folder = tmp_path_factory.mktemp("keyed")
    with make_workspace(folder / "workspace") as ws:
        file, keys = roles_file(folder)
        for running in run_server(ws, keys_file=file):
            yield Keyed(running, file, keys)


def registered_methods(running: Running) -> set[str]:
    """Read what the server really answers out of its handlers."""
    return {
        path.lstrip("/") for one in running.server.handlers for path in getattr(one, "_method_handlers", ())
    }


def search(text: str = "north") -> bytes:
    query = search_pb2.Query(text=text)
    return search_pb2.SearchRequest(collection=COLLECTION, query=query).SerializeToString()


def failed(answer: bytes | Failure) -> Failure:
    assert isinstance(answer, Failure)
    return answer


def test_every_method_of_every_service_has_a_row(keyed: Keyed) -> None:
    methods = registered_methods(keyed.running)

    assert len(methods) >= 18
    assert methods == set(MAY_CALL) == set(PERMISSIONS)


@pytest.mark.parametrize("role", EVERYBODY, ids=lambda role: role.label if role else "nobody")
@pytest.mark.parametrize("method", MAY_CALL)
def test_a_role_may_call_what_the_table_says(keyed: Keyed, method: str, role: Role | None) -> None:
    answer = keyed.call(method) if role is None else keyed.as_role(role, method)

    refused = isinstance(answer, Failure) and answer.code in NOT_LET_IN
    assert refused == (role not in MAY_CALL[method])
    if isinstance(answer, Failure) and refused:
        assert answer.code == NOT_LET_IN[0 if role is None else 1]
        assert answer.reason == answer.code.name


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", "Bearer twinspire_wrong"),),
        (("authorization", "Bearer "),),
        (("authorization", "Bearer"),),
        (("authorization", "Basic dXNlcjpwYXNz"),),
        (("authorization", "x" * 4000),),
        (("x-api-key", "anything"),),
        (("authorization-bin", b"Bearer \xff\xfe"),),
    ],
)
def test_no_key_or_a_wrong_one_is_unauthenticated(
    keyed: Keyed, metadata: tuple[tuple[str, str | bytes], ...]
) -> None:
    failure = failed(keyed.call(SEARCH, search(), metadata=metadata))

    assert (failure.code, failure.reason) == (StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")


@pytest.mark.parametrize("change", [str.upper, str.swapcase, lambda key: key[:-1], lambda key: key + "A"])
def test_nearly_the_key_is_not_the_key(keyed: Keyed, change: Callable[[str], str]) -> None:
    failure = failed(keyed.call(SEARCH, search(), metadata=bearer(change(keyed.keys[Role.READ]))))

    assert failure.code == StatusCode.UNAUTHENTICATED


def test_the_hash_out_of_the_file_is_not_the_key(keyed: Keyed) -> None:
    failure = failed(keyed.call(SEARCH, search(), metadata=bearer(read_keys(keyed.file)[0].digest)))

    assert failure.code == StatusCode.UNAUTHENTICATED


def test_the_scheme_may_be_written_in_any_case(keyed: Keyed) -> None:
    metadata = (("authorization", f"bEARER {keyed.keys[Role.READ]}"),)

    assert isinstance(keyed.call(SEARCH, search(), metadata=metadata), bytes)


def test_a_refusal_tells_which_role_is_needed(keyed: Keyed) -> None:
    failure = failed(keyed.as_role(Role.READ, "twinspire.v1.ItemService/DeleteItems"))

    info = failure.detail(error_details_pb2.ErrorInfo)
    assert (info.metadata["needed"], info.metadata["role"]) == ("write", "read")


def test_a_refusal_does_not_tell_the_key(keyed: Keyed) -> None:
    key = "twinspire_" + "guessed" * 6

    failure = failed(keyed.call(SEARCH, search(), metadata=bearer(key)))

    assert "guessed" not in failure.message + str(failure.details)


def test_a_malformed_request_without_a_key_learns_nothing_of_it(keyed: Keyed) -> None:
    assert failed(keyed.call(SEARCH, b"\xff")).code == StatusCode.UNAUTHENTICATED


def test_refusals_are_counted(keyed: Keyed) -> None:
    before = keyed.running.metric("twinspire_errors_total", reason="UNAUTHENTICATED")
    keyed.call(SEARCH, search())

    assert keyed.running.metric("twinspire_errors_total", reason="UNAUTHENTICATED") == before + 1


def test_health_needs_no_key(keyed: Keyed) -> None:
    answer = keyed.call(f"{HEALTH}/Check")

    assert isinstance(answer, bytes)
    assert health_pb2.HealthCheckResponse.FromString(answer).status == 1


def test_an_upload_without_a_key_ends_before_anything_is_sent(keyed: Keyed) -> None:
    asked = threading.Event()

    def requests() -> Iterator[items_pb2.UpsertItemsRequest]:
        asked.wait(TIMEOUT_S)
        yield from ()

    answers = keyed.running.items.UpsertItems(requests(), timeout=TIMEOUT_S)
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    asked.set()

    assert failure_of(caught.value).code == StatusCode.UNAUTHENTICATED


def test_an_expired_key_is_unauthenticated(start_server: Callable[..., Running], tmp_path: Path) -> None:
    keyed = keyed_server(start_server, tmp_path)
    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    metadata = bearer(add_key(keyed.file, "brief", Role.READ, expires_at=soon))
    assert eventually(lambda: isinstance(keyed.call(SEARCH, search(), metadata=metadata), bytes))

    assert eventually(lambda: isinstance(keyed.call(SEARCH, search(), metadata=metadata), Failure))

    failure = failed(keyed.call(SEARCH, search(), metadata=metadata))
    assert (failure.code, failure.message) == (StatusCode.UNAUTHENTICATED, "the key has expired")


def test_keys_are_rotated_without_a_restart_and_without_a_failed_call(
    start_server: Callable[..., Running], tmp_path: Path
) -> None:
    keyed = keyed_server(start_server, tmp_path)
    old = bearer(keyed.keys[Role.READ])
    new = bearer(add_key(keyed.file, "next", Role.READ))

    assert eventually(lambda: isinstance(keyed.call(SEARCH, search(), metadata=new), bytes))
    assert isinstance(keyed.call(SEARCH, search(), metadata=old), bytes)
    revoke_key(keyed.file, "read")
    assert eventually(lambda: isinstance(keyed.call(SEARCH, search(), metadata=old), Failure))
    assert isinstance(keyed.call(SEARCH, search(), metadata=new), bytes)


def test_revoking_a_key_ends_the_streams_that_it_opened(
    start_server: Callable[..., Running], tmp_path: Path
) -> None:
    keyed = keyed_server(start_server, tmp_path)

    def requests() -> Iterator[items_pb2.UpsertItemsRequest]:
        while True:
            yield items_pb2.UpsertItemsRequest(
                collection=COLLECTION, items=[items_pb2.Item(id="a", text="far")]
            )
            time.sleep(0.02)

    answers = keyed.running.items.UpsertItems(
        requests(), timeout=TIMEOUT_S, metadata=bearer(keyed.keys[Role.WRITE])
    )
    next(answers)
    revoke_key(keyed.file, "write")
    with pytest.raises(grpc.RpcError) as caught:
        list(answers)

    assert failure_of(caught.value).code == StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("spoil", [lambda file: file.write_text("{"), Path.unlink])
def test_the_last_keys_stay_in_force_when_the_file_breaks(
    start_server: Callable[..., Running], tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    keyed = keyed_server(start_server, tmp_path)
    spoil(keyed.file)
    time.sleep(0.3)

    assert isinstance(keyed.as_role(Role.READ, SEARCH, search()), bytes)
    assert failed(keyed.call(SEARCH, search())).code == StatusCode.UNAUTHENTICATED


def test_an_empty_keys_file_lets_nobody_in(start_server: Callable[..., Running], tmp_path: Path) -> None:
    keyed = keyed_server(start_server, tmp_path)
    for role in Role:
        revoke_key(keyed.file, role.label)

    assert eventually(lambda: isinstance(keyed.as_role(Role.ADMIN, SEARCH, search()), Failure))


def test_without_keys_everybody_is_let_in(running: Running) -> None:
    assert running.ids("north", limit=1) == ["north"]


def test_reflection_can_be_switched_off(start_server: Callable[..., Running]) -> None:
    running = start_server(reflection=False)

    answer = Keyed(running, Path(), {}).call(f"{REFLECTION}/ServerReflectionInfo")

    assert failed(answer).code == StatusCode.UNIMPLEMENTED
    assert f"{REFLECTION}/ServerReflectionInfo" not in registered_methods(running)
