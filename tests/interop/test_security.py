"""TLS, tokens and certificates, as a client of another make uses them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from anyio.from_thread import start_blocking_portal

from atomix_election.server import ElectionServer
from tests.certificates import Authority, Files, write_access
from tests.interop.peer import Peer, Published, refusal


@dataclass(frozen=True, slots=True)
class Secured:
    """A server with TLS and an access file."""

    target: str
    tokens: dict[str, str]
    authority: Authority

    def credentials(self, who: str | None = None, files: Files | None = None) -> grpc.ChannelCredentials:
        """Return what a principal connects with: a token, a certificate, or neither."""
        private = (files.key.read_bytes(), files.certificate.read_bytes()) if files else (None, None)
        channel = grpc.ssl_channel_credentials(self.authority.ca.read_bytes(), *private)
        if who is None:
            return channel
        return grpc.composite_channel_credentials(channel, grpc.access_token_call_credentials(self.tokens[who]))


@pytest.fixture
def secured(authority: Authority, tmp_path: Path) -> Iterator[Secured]:
    """One with a member, an observer, and a machine that has a certificate."""
    access = tmp_path / "access.toml"
    machine = 'certificate = ["DNS:machine.example"]\nadminister = ["*"]'
    tokens = write_access(access, {"member": 'take_part = ["*"]', "observer": 'observe = ["*"]'}, machine=machine)
    server = ElectionServer(tls=authority.server(client_ca=authority.ca), access=access)
    with start_blocking_portal("asyncio") as portal, portal.wrap_async_context_manager(server):
        yield Secured(server.target, tokens, authority)


def test_a_token_and_a_certificate(published: Published, secured: Secured) -> None:
    """Every method as its role allows."""
    machine = secured.credentials(files=secured.authority.issue("machine.example"))
    with (
        Peer(published, secured.target, credentials=secured.credentials("member")) as member,
        Peer(published, secured.target, member.election, credentials=secured.credentials("observer")) as observer,
        Peer(published, secured.target, member.election, credentials=machine) as operator,
    ):
        assert list(member.enter("a", "b").candidates) == ["a", "b"]
        assert observer.call("GetTerm").term.leader_id == "a"
        assert next(observer.events()).event.term.leader_id == "a"
        assert refusal(lambda: observer.call("Create")) == ("PERMISSION_DENIED", "PermissionDenied")
        assert refusal(lambda: member.call("Anoint", "b")) == ("PERMISSION_DENIED", "PermissionDenied")
        assert operator.call("Anoint", "b").term.leader_id == "b"
        forget = "/atomix_election.v1.Administration/Forget"
        assert refusal(lambda: member.bare(forget)) == ("PERMISSION_DENIED", "PermissionDenied")
        assert refusal(lambda: operator.bare(forget)) == ("INVALID_ARGUMENT", "InvalidRequest")
        operator.session = member.session
        assert refusal(lambda: operator.call("Withdraw", "b")) == ("PERMISSION_DENIED", "NotSessionOwner")


def test_without_credentials(published: Published, secured: Secured) -> None:
    """UNAUTHENTICATED for every method, in an answer of the server's own."""
    with Peer(published, secured.target, credentials=secured.credentials()) as peer:
        for method in published.methods:
            assert refusal(lambda method=method: peer.any(method)) == ("UNAUTHENTICATED", "Unauthenticated")


def test_plain_text_is_not_served(published: Published, secured: Secured) -> None:
    """The connection comes to nothing."""
    with Peer(published, secured.target) as peer:
        assert refusal(lambda: peer.call("GetTerm"))[0] == "UNAVAILABLE"
