"""TLS: which certificates to use and to trust, and what is said when that fails."""

import asyncio
import os
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

from atomix_election.errors import InvalidRequest

File = str | os.PathLike[str]

_ALPN = ["h2"]
# Numbers of OpenSSL (x509_vfy.h), as Python has no names for them.
_NOT_YET_VALID, _EXPIRED = 9, 10
_UNTRUSTED = {2, 18, 19, 20, 21}
_OTHER_NAME = {62, 64}


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How a client speaks TLS. Its files are PEM, and read again for each connection.

    Args:
        ca: certificates of the authorities that a server's certificate may be signed by; by default the system's.
        certificate: this client's own, with those between it and the authority, for a server that asks for one.
        key: the key to it; by default in the same file.
        server_name: the name that the server's certificate must have; by default the host in the target.

    Raises:
        InvalidRequest: they contradict each other.
    """

    ca: File | None = None
    certificate: File | None = None
    key: File | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if self.key is not None and self.certificate is None:
            raise InvalidRequest(f"there is a key, {os.fspath(self.key)}, but no certificate that it belongs to")
        if self.server_name == "":
            raise InvalidRequest("the server's name is empty: leave it out to use the host in the target")

    def context(self) -> ssl.SSLContext:
        """Read the files.

        Raises:
            InvalidRequest: one of them cannot be used.
        """
        context = _context(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        else:
            _load_authorities(context, self.ca)
        if self.certificate is not None:
            _load_certificate(context, self.certificate, self.key)
        return context


@dataclass(frozen=True, slots=True)
class ServerTls:
    """How a server speaks TLS. Its files are PEM.

    Args:
        certificate: the server's own, with those between it and the authority.
        key: the key to it, not encrypted; by default in the same file.
        client_ca: certificates of the authorities that clients' certificates may be signed by. Where there is no access
            file, a client must have one; where there is, a certificate or a token.
    """

    certificate: File
    key: File | None = None
    client_ca: File | None = None

    def context(self) -> ssl.SSLContext:
        """Read the files.

        Raises:
            InvalidRequest: one of them cannot be used.
        """
        context = _context(ssl.PROTOCOL_TLS_SERVER)
        context.options |= ssl.OP_NO_RENEGOTIATION
        _load_certificate(context, self.certificate, self.key)
        if self.client_ca is not None:
            _load_authorities(context, self.client_ca)
            # A client without one is refused call by call, in words: asyncio drops the alert that would tell it why.
            context.verify_mode = ssl.CERT_OPTIONAL
        return context


def explain(error: Exception, host: str) -> str:
    """Return what went wrong when a client tried to connect with TLS, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _explain_certificate(error.verify_code, error.verify_message, host)
    if isinstance(error, ssl.SSLError):
        return (
            f"no TLS connection came about ({error.reason or error}): if the server speaks plain text, the target is "
            "grpc://, else its TLS and this one have no version in common"
        )
    return str(error)


def _explain_certificate(code: int, message: str, host: str) -> str:
    if code == _EXPIRED:
        return "the server's certificate has expired: renew it there, or set this machine's clock"
    if code == _NOT_YET_VALID:
        return "the server's certificate is not valid yet: set this machine's clock or the server's"
    if code in _OTHER_NAME:
        return f"the server's certificate is not for {host}: connect by a name that it has, or give that as server_name"
    if code in _UNTRUSTED:
        return (
            f"the server's certificate is not trusted ({message}): give the certificate of the authority that signed "
            "it as ca (--ca)"
        )
    return f"the server's certificate was not accepted: {message}"


def names_in(certificate: Mapping[str, Any]) -> frozenset[str]:
    """Return the names in a verified certificate, as an access file writes them.

    Args:
        certificate: what ``ssl.SSLSocket.getpeercert`` says of it.
    """
    alternative = [f"{kind}:{name}" for kind, name in certificate.get("subjectAltName", ())]
    subject = [part for each in certificate.get("subject", ()) for part in each]
    return frozenset([*alternative, *(f"CN:{name}" for kind, name in subject if kind == "commonName")])


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(_ALPN)
    return context


def _load_certificate(context: ssl.SSLContext, certificate: File, key: File | None) -> None:
    for path in (certificate, key):
        if path is not None:
            _check_readable(path)
    where = os.fspath(certificate) if key is None else f"{os.fspath(certificate)} and {os.fspath(key)}"
    try:
        context.load_cert_chain(certificate, key, password=lambda: _refuse_password(key or certificate))
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise InvalidRequest(f"{where} do not belong together: the key is that of another certificate") from error
        raise InvalidRequest(
            f"{where} cannot be used as certificate and key in PEM: {error.reason or error}"
        ) from error


def _load_authorities(context: ssl.SSLContext, path: File) -> None:
    _check_readable(path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise InvalidRequest(f"{os.fspath(path)} has no certificates in PEM: {error.reason or error}") from error


def _refuse_password(path: File) -> NoReturn:
    raise InvalidRequest(f"the key in {os.fspath(path)} is encrypted: this cannot ask for its password, so decrypt it")


def _check_readable(path: File) -> None:
    """OpenSSL does not say which of its files it could not read."""
    try:
        Path(path).read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{os.fspath(path)} cannot be read: {error.strerror or error}") from error


class AlreadyClosed(asyncio.Transport):
    """Takes the place of a transport that is about to be closed for the second time.

    asyncio's TLS transport then lets go of its connection, and fails when something is written to it.
    """

    def close(self) -> None:
        """It is closed."""


def abort(transport: asyncio.BaseTransport) -> None:
    """Close a connection at once, whatever waits to be written.

    asyncio's TLS transport lets go of its connection when it is closed a second time. In Python 3.11.2 its ``abort``
    then fails, and later ones do nothing; asyncio's own time limit for the end of TLS closes such a connection.
    """
    with suppress(AttributeError):
        cast(asyncio.Transport, transport).abort()
