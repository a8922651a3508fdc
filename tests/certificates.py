"""Certificates that tests make for themselves, and access files."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import trustme

from atomix_election import ClientTls, ServerTls
from atomix_election.core.access import digest_of
from atomix_election.tokens import new_token

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Files:
    """A certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """An authority that signs certificates, and leaves them in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._authority = trustme.CA()
        self.ca = directory / f"ca-{next(_numbers)}.pem"
        self._authority.cert_pem.write_to_path(self.ca)

    def issue(self, *names: str, common_name: str | None = None, expired: bool = False) -> Files:
        """Make a certificate for names and addresses."""
        now = datetime.now(UTC)
        made = self._authority.issue_cert(
            *names,
            common_name=common_name,
            not_before=now - timedelta(days=2),
            not_after=now + timedelta(days=-1 if expired else 1),
        )
        number = next(_numbers)
        files = Files(self._directory / f"{number}.pem", self._directory / f"{number}.key")
        made.cert_chain_pems[0].write_to_path(files.certificate)
        made.private_key_pem.write_to_path(files.key)
        return files

    def server(self, *, client_ca: Path | None = None) -> ServerTls:
        """Return what a server on loopback uses."""
        files = self.issue("127.0.0.1", "localhost")
        return ServerTls(files.certificate, files.key, client_ca)

    def client(self, files: Files | None = None) -> ClientTls:
        """Return what a client uses that trusts this authority."""
        return ClientTls(self.ca, files and files.certificate, files and files.key)


def write_access(path: Path, principals: Mapping[str, str], **more: str) -> dict[str, str]:
    """Write an access file with principals, a token and these lines each, and return their tokens."""
    tokens = {name: new_token() for name in principals}
    text = ""
    for name, lines in principals.items():
        text += f'[principals.{name}]\ntoken_sha256 = ["{digest_of(tokens[name]).hex()}"]\n{lines}\n'
    for name, lines in more.items():
        text += f"[principals.{name}]\n{lines}\n"
    path.write_text(text)
    return tokens
