"""A published client loses its credentials: what it has ends with its lease, although its connection stays open."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from atomix_election import connect
from atomix_election.core.access import digest_of
from atomix_election.server import ElectionServer
from tests.certificates import Authority, Files, write_access
from tests.interop.peer import Peer, Published, fresh, refusal

TTL_S = 0.5
SLACK_S = 5.0
"""For slow machines."""
ONE, TWO = "one", "two"
CERTIFIED = "certified"


@dataclass(frozen=True, slots=True)
class Secured:
    """A server with TLS and an access file that changes."""

    server: ElectionServer
    store: str
    portal: BlockingPortal
    file: Path
    tokens: dict[str, str]
    authority: Authority
    published: Published

    def peer(self, who: str, election: str, namespace: str = ONE) -> Peer:
        """Return a client, with a connection of its own."""
        files: Files | None = self.authority.issue("leaver.example") if who == CERTIFIED else None
        private = (files.key.read_bytes(), files.certificate.read_bytes()) if files else (None, None)
        credentials = grpc.ssl_channel_credentials(self.authority.ca.read_bytes(), *private)
        if who in self.tokens:
            token = grpc.access_token_call_credentials(self.tokens[who])
            credentials = grpc.composite_channel_credentials(credentials, token)
        return Peer(self.published, self.server.target, election, namespace=namespace, credentials=credentials)

    def change(self, text: str, by: str) -> None:
        """Replace a text that is there once in the file, and have it read again."""
        before = self.file.read_text()
        assert before.count(text) == 1
        self.file.write_text(before.replace(text, by))
        self.portal.call(self.server.reload)

    def held(self, peer: Peer) -> dict[str, bool]:
        """Return who stands, and whether a connection keeps each one's session open."""

        async def describe() -> dict[str, bool]:
            async with connect(self.store, namespace=peer.namespace) as client:
                described = await client.election(peer.election).describe()
            return {each.id: each.session.lease_left_s is None for each in described.candidates}

        return self.portal.call(describe)


@pytest.fixture
def secured(authority: Authority, published: Published, tmp_path: Path) -> Iterator[Secured]:
    """One with a principal that leaves and one that stays, and another way to be each."""
    file = tmp_path / "access.toml"
    both = f'take_part = ["{ONE}", "{TWO}"]'
    tokens = write_access(
        file,
        {"leaver": f"{both}\nobserve = []", "stayer": 'take_part = ["*"]'},
        certified=f'certificate = ["DNS:leaver.example"]\n{both}',
    )
    store = f"memory://{fresh('shut-out')}"
    server = ElectionServer(
        store, session_ttl=TTL_S, tls=authority.server(client_ca=authority.ca), access=file, min_session_ttl=TTL_S
    )
    with start_blocking_portal("asyncio") as portal, portal.wrap_async_context_manager(server):
        yield Secured(server, store, portal, file, tokens, authority, published)


WAYS: dict[str, tuple[str, Callable[[Secured], tuple[str, str]], str]] = {
    "the token is taken back": (
        "leaver",
        lambda secured: (digest_of(secured.tokens["leaver"]).hex(), digest_of("another").hex()),
        "UNAUTHENTICATED",
    ),
    "the role is taken back": (
        "leaver",
        lambda _: (f'take_part = ["{ONE}", "{TWO}"]\nobserve = []', f'observe = ["{ONE}", "{TWO}"]'),
        "PERMISSION_DENIED",
    ),
    "the principal has another name": (
        "leaver",
        lambda _: ("[principals.leaver]", "[principals.renamed]"),
        "PERMISSION_DENIED",
    ),
    "the name in the certificate is taken back": (
        CERTIFIED,
        lambda _: ("DNS:leaver.example", "DNS:other.example"),
        "UNAUTHENTICATED",
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_who_is_shut_out_stays_no_longer_than_its_lease(secured: Secured, way: str) -> None:
    """Neither its open connection nor calls on it keep its session; who belongs there goes on, streams and all."""
    who, change, status = WAYS[way]
    with secured.peer(who, fresh("e")) as leaver, secured.peer("stayer", leaver.election) as stayer:
        leaver.enter("leaver")
        stayer.enter("stayer")
        events = stayer.events()
        assert list(next(events).event.term.candidates) == ["leaver", "stayer"]
        assert secured.held(leaver) == {"leaver": True, "stayer": True}
        secured.change(*change(secured))
        changed = time.monotonic()
        assert secured.held(leaver) == {"leaver": False, "stayer": True}
        assert refusal(lambda: leaver.call("Enter", "leaver"))[0] == status
        if way == "the role is taken back":
            with secured.peer(who, leaver.election) as again:
                again.session = leaver.session
                for each in (leaver, again):
                    each.call("GetTerm")  # which it still may, and which is a call of its session
            assert not secured.held(leaver)["leaver"]
        term = next(events).event.term
        assert list(term.candidates) == ["stayer"]
        assert TTL_S <= time.monotonic() - changed + 0.01 < TTL_S + SLACK_S
        assert secured.held(stayer) == {"stayer": True}
        assert list(stayer.call("Enter", "another").term.candidates) == ["stayer", "another"]


def test_a_role_that_is_taken_back_in_one_namespace_ends_nothing_in_another(secured: Secured) -> None:
    """On the same connection, with the same token."""
    with secured.peer("leaver", fresh("e")) as leaver, secured.peer("stayer", leaver.election) as stayer:
        leaver.enter("a")
        leaver.namespace = TWO
        leaver.enter("b")
        secured.change(f'take_part = ["{ONE}", "{TWO}"]\nobserve = []', f'take_part = ["{TWO}"]')
        assert secured.held(leaver) == {"b": True}
        events = stayer.events()
        while next(events).event.term.candidates:
            pass
        assert secured.held(leaver) == {"b": True}
        assert list(leaver.call("Enter", "c").term.candidates) == ["b", "c"]


def test_who_is_let_in_again_within_the_lease_has_lost_nothing(secured: Secured) -> None:
    """A slip in the file that is mended: its next call keeps the session open as before."""
    digest = digest_of(secured.tokens["leaver"]).hex()
    with secured.peer("leaver", fresh("e")) as leaver:
        leaver.enter("a")
        secured.change(digest, digest_of("another").hex())
        assert secured.held(leaver) == {"a": False}
        secured.change(digest_of("another").hex(), digest)
        leaver.call("Enter", "a")
        assert secured.held(leaver) == {"a": True}


def test_another_token_of_the_same_principal_is_not_taken_for_the_one_that_was_taken_back(secured: Secured) -> None:
    """A connection that several share, as behind a proxy: what came with the leaked token goes, the rest stays."""
    leaked, good = secured.tokens["leaver"], "g" * 43
    secured.change(
        f'token_sha256 = ["{digest_of(leaked).hex()}"]',
        f'token_sha256 = ["{digest_of(leaked).hex()}", "{digest_of(good).hex()}"]',
    )
    with secured.peer("", fresh("e")) as shared:
        for token, session in ((leaked, "leaked"), (good, "good")):
            shared.session = fresh(session)
            metadata = (*shared.metadata, ("authorization", f"Bearer {token}"))
            shared.call("Create", metadata=metadata)
            shared.call("Enter", session, metadata=metadata)
        assert secured.held(shared) == {"leaked": True, "good": True}
        secured.change(f'"{digest_of(leaked).hex()}", ', "")
        assert secured.held(shared) == {"leaked": False, "good": True}
