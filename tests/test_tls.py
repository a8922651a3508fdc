"""The files that TLS needs, and what is said of those that cannot be used."""

import re
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from atomix_election import ClientTls, InvalidRequest, ServerTls
from atomix_election.tls import explain, names_in
from tests.certificates import Authority


def test_settings_that_contradict_are_refused() -> None:
    """Before anything is read."""
    with pytest.raises(InvalidRequest, match="no certificate that it belongs to"):
        ClientTls(key="key.pem")
    with pytest.raises(InvalidRequest, match="name is empty"):
        ClientTls(server_name="")


def test_certificate_and_key_may_be_in_one_file(authority: Authority, tmp_path: Path) -> None:
    """On both sides."""
    files = authority.issue("localhost")
    both = tmp_path / "both.pem"
    both.write_bytes(files.key.read_bytes() + files.certificate.read_bytes())
    ServerTls(str(both), client_ca=authority.ca).context()
    ClientTls(authority.ca, both).context()


def test_old_versions_and_renegotiation_are_out(authority: Authority) -> None:
    """Whatever this machine's OpenSSL would allow."""
    for context in (authority.server().context(), authority.client().context()):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.maximum_version in (ssl.TLSVersion.MAXIMUM_SUPPORTED, ssl.TLSVersion.TLSv1_3)
    assert authority.server().context().options & ssl.OP_NO_RENEGOTIATION
    assert authority.client().context().verify_mode == ssl.CERT_REQUIRED
    assert authority.client().context().check_hostname


def test_files_that_cannot_be_used(authority: Authority, stranger: Authority, tmp_path: Path) -> None:
    """Each message names the file and what is wrong with it."""
    good, other = authority.issue("localhost"), stranger.issue("localhost")
    garbage, missing = tmp_path / "garbage.pem", tmp_path / "missing.pem"
    garbage.write_text("garbage")
    encrypted = tmp_path / "encrypted.pem"
    key = load_pem_private_key(good.key.read_bytes(), None)
    encryption = BestAvailableEncryption(b"password")
    encrypted.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    cases = [
        (ServerTls(missing, good.key), missing, "No such file"),
        (ServerTls(good.certificate, missing), missing, "No such file"),
        (ServerTls(tmp_path, good.key), tmp_path, "Is a directory"),
        (ServerTls(garbage, good.key), garbage, "cannot be used as certificate"),
        (ServerTls(good.certificate, garbage), garbage, "cannot be used as certificate"),
        (ServerTls(good.certificate), good.certificate, "cannot be used as certificate"),
        (ServerTls(good.certificate, other.key), other.key, "do not belong together"),
        (ServerTls(good.certificate, encrypted), encrypted, "encrypted"),
        (ServerTls(good.certificate, good.key, missing), missing, "No such file"),
        (ServerTls(good.certificate, good.key, garbage), garbage, "no certificates in PEM"),
        (ClientTls(missing), missing, "No such file"),
        (ClientTls(garbage), garbage, "no certificates in PEM"),
        (ClientTls(None, good.certificate, other.key), other.key, "do not belong together"),
    ]
    for tls, path, reason in cases:
        with pytest.raises(InvalidRequest, match=re.escape(reason)) as refused:
            tls.context()
        assert str(path) in str(refused.value)


def test_names_of_a_certificate() -> None:
    """Common names, alternative names of all kinds."""
    certificate = {
        "subject": ((("organizationName", "x"),), (("commonName", "a"), ("commonName", "b"))),
        "subjectAltName": (("DNS", "a.example"), ("URI", "spiffe://a"), ("email", "a@example.org")),
    }
    assert names_in(certificate) == {"CN:a", "CN:b", "DNS:a.example", "URI:spiffe://a", "email:a@example.org"}
    assert names_in({}) == frozenset()


def test_other_errors_are_said_as_they_are() -> None:
    """There is nothing to add."""
    assert explain(OSError("no route"), "host") == "no route"
