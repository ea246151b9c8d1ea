"""The server's certificate, and those it asks of its clients; both are exchanged without a restart.

gRPC asks for the certificate at each new connection (`grpc.dynamic_ssl_server_credentials`), so connections
that are there stay, and new ones get the new certificate.
"""

import logging
import ssl
from collections import deque
from pathlib import Path
from typing import Any

import grpc

from retrieval.errors import TwinspireError
from server.errors import InvalidCertificates
from server.file_stamps import Stamp, stamp_of
from server.logs import log

_READABLE_BY_ALL = 0o004


class Certificates:
    """Files of certificates, watched."""

    def __init__(self, cert: Path, key: Path, client_ca: Path | None = None) -> None:
        """Read and check them.

        Args:
            cert: the server's certificate and those between it and its authority, PEM.
            key: the certificate's private key, PEM, not encrypted.
            client_ca: the authorities whose certificates clients must have, PEM; None asks for none.

        Raises:
            InvalidCertificates: if one cannot be read, or they do not belong together.
        """
        self._cert = cert
        self._key = key
        self._client_ca = client_ca
        self._stamps = self._look()
        self._first = self._read()
        self._fresh: deque[Any] = deque(maxlen=1)
        if key.stat().st_mode & _READABLE_BY_ALL:
            log("the private key can be read by all users: chmod 600 it", level=logging.WARNING)

    def credentials(self) -> grpc.ServerCredentials:
        """Make what a port of a server needs."""
        return grpc.dynamic_ssl_server_credentials(self._first, self._take, self._client_ca is not None)

    def refresh(self) -> bool:
        """Read the files again if one changed, and tell whether new connections get another certificate.

        Files that do not fit together, as while they are being exchanged, change nothing.
        """
        stamps = self._look()
        if stamps == self._stamps:
            return False
        self._stamps = stamps
        try:
            self._fresh.append(self._read())
        except TwinspireError as error:
            log("certificates not read, the last ones stay in use", level=logging.ERROR, why=str(error))
            return False
        log("certificates read")
        return True

    def _take(self) -> Any:
        """Give gRPC, in a thread of its own, what changed since it last asked; None for nothing."""
        try:
            return self._fresh.pop()
        except IndexError:
            return None

    def _look(self) -> tuple[Stamp, ...]:
        return tuple(stamp_of(file) for file in (self._cert, self._key, self._client_ca) if file)

    def _read(self) -> Any:
        """Read the files; gRPC itself would take a wrong pair and then fail each connection."""
        ca = None if self._client_ca is None else _content(self._client_ca)
        pair = (_content(self._key), _content(self._cert))
        _check(self._cert, self._key, self._client_ca)
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=ca)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidCertificates(f"{file.name} cannot be read: {error.strerror}") from None


def _check(cert: Path, key: Path, client_ca: Path | None) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key, password=lambda: "")  # else OpenSSL asks on the terminal
    except (OSError, ValueError):
        raise InvalidCertificates(
            f"{cert.name} and {key.name}: expected a certificate and its unencrypted private key, as PEM"
        ) from None
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except (OSError, ValueError):
            raise InvalidCertificates(f"{client_ca.name}: expected certificates, as PEM") from None
