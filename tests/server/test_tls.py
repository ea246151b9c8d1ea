"""TLS and mutual TLS, over real connections."""

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from server.certificates import Certificates
from server.config import InsecureAddress, ServerConfig
from server.errors import InvalidCertificates
from tests.server.authorities import Authority, Pair
from tests.server.keyed import eventually
from tests.server.running import TIMEOUT_S, Failure, Running, failure_of
from tests.server.workspaces import COLLECTION

Start = Callable[..., Running]
INFO = "/twinspire.v1.ServerService/GetServerInfo"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certificates")


def secure(running: Running, ca: Path, client: Pair | None = None) -> grpc.Channel:
    """Make a channel of its own connection, so that it shakes hands anew."""
    own = (client.key.read_bytes(), client.cert.read_bytes()) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(ca.read_bytes(), *own)
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.secure_channel(f"127.0.0.1:{running.server.port}", credentials, options)


def ask(channel: grpc.Channel) -> bytes | Failure:
    """Make a call."""
    with channel:
        try:
            call: Any = channel.unary_unary(INFO)
            return bytes(call(b"", timeout=TIMEOUT_S))
        except grpc.RpcError as error:
            return failure_of(error)


def refused(answer: bytes | Failure) -> bool:
    return isinstance(answer, Failure) and answer.code == StatusCode.UNAVAILABLE


def test_a_server_speaks_tls(start_server: Start, authority: Authority) -> None:
    pair = authority.issue("server")
    running = start_server(tls_cert=pair.cert, tls_key=pair.key)

    assert isinstance(ask(secure(running, authority.file)), bytes)


def test_clear_text_is_refused_by_a_tls_server(start_server: Start, authority: Authority) -> None:
    pair = authority.issue("server")
    running = start_server(tls_cert=pair.cert, tls_key=pair.key)

    assert refused(ask(running.channel))


def test_a_client_of_another_authority_does_not_trust_the_server(
    start_server: Start, authority: Authority, tmp_path: Path
) -> None:
    pair = authority.issue("server")
    running = start_server(tls_cert=pair.cert, tls_key=pair.key)

    assert refused(ask(secure(running, Authority(tmp_path / "other", "other").file)))


def test_mutual_tls_lets_in_who_has_a_certificate(start_server: Start, authority: Authority) -> None:
    pair = authority.issue("server")
    running = start_server(tls_cert=pair.cert, tls_key=pair.key, tls_client_ca=authority.file)

    assert isinstance(ask(secure(running, authority.file, authority.issue("caller"))), bytes)


def test_mutual_tls_refuses_who_has_none(start_server: Start, authority: Authority) -> None:
    pair = authority.issue("server")
    running = start_server(tls_cert=pair.cert, tls_key=pair.key, tls_client_ca=authority.file)

    assert refused(ask(secure(running, authority.file)))


def test_mutual_tls_refuses_a_certificate_of_another_authority(
    start_server: Start, authority: Authority, tmp_path: Path
) -> None:
    pair = authority.issue("server")
    running = start_server(tls_cert=pair.cert, tls_key=pair.key, tls_client_ca=authority.file)
    stranger = Authority(tmp_path / "other", "other").issue("stranger")

    assert refused(ask(secure(running, authority.file, stranger)))


def test_mutual_tls_refuses_an_expired_certificate(start_server: Start, authority: Authority) -> None:
    pair = authority.issue("server")
    running = start_server(tls_cert=pair.cert, tls_key=pair.key, tls_client_ca=authority.file)

    assert refused(
        ask(secure(running, authority.file, authority.issue("late", valid_for=-timedelta(days=1))))
    )


def test_a_new_certificate_is_taken_over_without_a_restart_and_open_connections_stay(
    start_server: Start, authority: Authority, tmp_path: Path
) -> None:
    pair = authority.issue("server")
    running = start_server(tls_cert=pair.cert, tls_key=pair.key, secrets_interval_s=0.05)
    kept = secure(running, authority.file)
    call: Any = kept.unary_unary(INFO)
    call(b"", timeout=TIMEOUT_S)
    successor = Authority(tmp_path / "next", "next")
    fresh = successor.issue("server")
    fresh.key.replace(pair.key)
    fresh.cert.replace(pair.cert)

    assert eventually(lambda: isinstance(ask(secure(running, successor.file)), bytes))
    assert refused(ask(secure(running, authority.file)))
    assert call(b"", timeout=TIMEOUT_S)
    kept.close()


def test_another_client_authority_is_taken_over(
    start_server: Start, authority: Authority, tmp_path: Path
) -> None:
    pair = authority.issue("server")
    clients = tmp_path / "clients.pem"
    clients.write_bytes(authority.file.read_bytes())
    running = start_server(
        tls_cert=pair.cert, tls_key=pair.key, tls_client_ca=clients, secrets_interval_s=0.05
    )
    other = Authority(tmp_path / "other", "other")
    caller = other.issue("caller")
    clients.write_bytes(other.file.read_bytes())

    assert eventually(lambda: isinstance(ask(secure(running, authority.file, caller)), bytes))
    assert refused(ask(secure(running, authority.file, authority.issue("before"))))


def test_half_an_exchange_changes_nothing(start_server: Start, authority: Authority) -> None:
    pair, other = authority.issue("server"), authority.issue("other")
    running = start_server(tls_cert=pair.cert, tls_key=pair.key)
    other.key.replace(pair.key)

    assert running.server._certificates is not None
    assert not running.server._certificates.refresh()
    assert isinstance(ask(secure(running, authority.file)), bytes)


def test_a_key_of_another_certificate_is_refused_at_the_start(authority: Authority) -> None:
    one, other = authority.issue("one"), authority.issue("other")

    with pytest.raises(InvalidCertificates, match=r"one\.pem and other\.key"):
        Certificates(one.cert, other.key)


@pytest.mark.parametrize("content", [None, b"", b"junk", b"-----BEGIN CERTIFICATE-----\n"])
def test_files_that_are_no_certificates_are_refused_at_the_start(
    authority: Authority, content: bytes | None
) -> None:
    pair = authority.issue("server")
    pair.cert.unlink()
    if content is not None:
        pair.cert.write_bytes(content)

    with pytest.raises(InvalidCertificates, match=r"server\.pem"):
        Certificates(pair.cert, pair.key)


def test_an_authority_that_is_none_is_refused_at_the_start(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("server")
    (tmp_path / "ca.pem").write_bytes(b"junk")

    with pytest.raises(InvalidCertificates, match=r"ca\.pem"):
        Certificates(pair.cert, pair.key, tmp_path / "ca.pem")


def test_the_health_check_speaks_mutual_tls(start_server: Start, authority: Authority) -> None:
    pair, probe = authority.issue("server"), authority.issue("probe")
    running = start_server(tls_cert=pair.cert, tls_key=pair.key, tls_client_ca=authority.file)
    assert running.server.live.served[COLLECTION]

    files = {"ca": authority.file, "cert": probe.cert, "key": probe.key}
    options = [part for name, file in files.items() for part in (f"--tls-{name}", str(file))]

    done = subprocess.run(
        [sys.executable, "-m", "server.healthcheck", f"127.0.0.1:{running.server.port}", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )

    assert (done.returncode, done.stderr) == (0, "")


PEM = Path("server.pem")
KEYS = Path("keys.json")


@pytest.mark.parametrize(
    "settings",
    [
        {"keys_file": KEYS},
        {"tls_cert": PEM, "tls_key": PEM},
        {},
    ],
)
def test_beyond_loopback_needs_tls_and_keys(settings: dict[str, Path]) -> None:
    with pytest.raises(InsecureAddress):
        ServerConfig(workspace=Path(), host="0.0.0.0", **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("who", [{"keys_file": KEYS}, {"tls_client_ca": PEM}])
def test_tls_with_keys_or_client_certificates_may_listen_beyond_loopback(who: dict[str, Path]) -> None:
    config = ServerConfig(workspace=Path(), host="0.0.0.0", tls_cert=PEM, tls_key=PEM, **who)  # type: ignore[arg-type]

    assert not config.insecure


def test_a_refused_address_says_what_is_missing() -> None:
    with pytest.raises(InsecureAddress, match=r"--tls-cert") as caught:
        ServerConfig(workspace=Path(), host="0.0.0.0", keys_file=KEYS)

    assert "--keys" not in str(caught.value)
