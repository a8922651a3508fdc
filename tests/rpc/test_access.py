"""Who may do what over the wire: every method, every role, two namespaces, one's own session and another's."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import pytest

from atomix_election import (
    ElectionError,
    ElectionServer,
    InvalidRequest,
    LeaderElection,
    NotSessionOwner,
    PermissionDenied,
    SessionEnded,
    Unauthenticated,
    connect,
)
from atomix_election.addresses import parse_endpoints
from atomix_election.core.access import NOBODY, ROLE_OF_METHOD, Role, digest_of, is_open
from atomix_election.core.election import Election
from atomix_election.model import ElectionId
from atomix_election.rpc.client import RpcClient
from atomix_election.rpc.gate import Gate
from atomix_election.rpc.standard_methods import HEALTH_METHODS
from atomix_election.service import Call, Renewal
from atomix_election.stores.base import Record
from atomix_election.stores.memory import MemoryStore
from tests.certificates import Authority, write_access
from tests.rpc.conftest import Rejections
from tests.rpc.raw import RawConnection, about, headers_of, message

pytestmark = pytest.mark.anyio

SOON_S = 5.0
ELECTION = "/atomix.election.v1.LeaderElection/"
SESSIONS = "/atomix_election.v1.Sessions/"
INSPECTION = "/atomix_election.v1.Inspection/"
ROLES = {
    "observer": 'observe = ["own"]',
    "member": 'take_part = ["own"]',
    "operator": 'administer = ["own"]',
    "owner": 'administer = ["*"]',
}
ROLE_OF = {"observer": Role.OBSERVE, "member": Role.TAKE_PART, "operator": Role.ADMINISTER}


@dataclass(frozen=True, slots=True)
class Secured:
    """A server with an access file, and the tokens of its principals."""

    server: ElectionServer
    file: Path
    tokens: dict[str, str]

    def client(self, token: str | None) -> RpcClient:
        """Return a bare connection."""
        target = self.server.target
        endpoints = parse_endpoints(target, target.removeprefix("grpc://"))
        return RpcClient(endpoints, token=None if token is None else lambda: token)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server.target.rpartition(":")[2])

    def change(self, text: str, *, by: str = "") -> None:
        """Replace a text in the file, and have it read again."""
        self.file.write_text(self.file.read_text().replace(text, by))
        self.server.reload()


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncGenerator[Secured]:
    """In namespaces ``own`` and ``other`` the owner has a session and a candidate."""
    file = tmp_path / "access.toml"
    tokens = write_access(file, ROLES)
    async with ElectionServer(access=file) as server:
        secured = Secured(server, file, tokens)
        async with secured.client(tokens["owner"]) as owner:
            for namespace in ("own", "other"):
                await owner.create(Call("e", namespace, "theirs"))
                await owner.enter(Call("e", namespace, "theirs"), "candidate")
            yield secured


async def watch(client: RpcClient, call: Call) -> None:
    """Read one event."""
    async with client.events(call) as events:
        await anext(events)


async def keep_alive(client: RpcClient, call: Call) -> None:
    """Renew once."""
    async with client.keep_alive(call.namespace, call.session) as stream:
        await stream.send(Renewal(1, open=True))
        await stream.receive()


async def own_session(client: RpcClient, call: Call) -> None:
    """Open a session as a published client does."""
    await client.create(Call("prepared", call.namespace, call.session))


async def forget(client: RpcClient, call: Call) -> None:
    """Forget an election that nobody uses."""
    await client.forget(Call("unused", call.namespace, call.session))


ATTEMPTS: dict[str, Callable[[RpcClient, Call], Awaitable[object]]] = {
    ELECTION + "GetTerm": lambda client, call: client.get_term(call),
    ELECTION + "Events": watch,
    ELECTION + "Create": lambda client, call: client.create(call),
    ELECTION + "Close": lambda client, call: client.close(call),
    ELECTION + "Enter": lambda client, call: client.enter(call, "another"),
    ELECTION + "Withdraw": lambda client, call: client.withdraw(call, "another"),
    SESSIONS + "KeepAlive": keep_alive,
    SESSIONS + "End": lambda client, call: client.end_session(call.namespace, call.session),
    ELECTION + "Anoint": lambda client, call: client.anoint(call, "candidate"),
    ELECTION + "Promote": lambda client, call: client.promote(call, "candidate"),
    ELECTION + "Evict": lambda client, call: client.evict(call, "candidate"),
    INSPECTION + "List": lambda client, call: client.list_elections(call.namespace),
    "/atomix_election.v1.Administration/Forget": forget,
    INSPECTION + "Describe": lambda client, call: client.describe(call),
}


async def refusal(attempt: Awaitable[object]) -> ElectionError | None:
    """Return the error of a call, or None when it went well."""
    with anyio.fail_after(SOON_S):
        try:
            await attempt
        except ElectionError as error:
            return error
    return None


def test_every_method_is_tried() -> None:
    """None is forgotten here when there is a new one; what is open to anybody has a test of its own."""
    assert set(ATTEMPTS) == {method for method in ROLE_OF_METHOD if not is_open(method)}


@pytest.mark.parametrize("method", ATTEMPTS)
@pytest.mark.parametrize("who", ROLE_OF)
async def test_the_matrix(secured: Secured, who: str, method: str) -> None:
    """A role counts in its namespace, and another's session is out of reach for everybody.

    Who only looks at elections needs no session, so that it does not matter whose id the call carries.
    """
    needed = ROLE_OF_METHOD[method]
    assert needed is not None
    enough = ROLE_OF[who] >= needed
    async with secured.client(secured.tokens[who]) as client:
        if ROLE_OF[who] >= Role.TAKE_PART and method != SESSIONS + "KeepAlive":
            await own_session(client, Call("e", "own", "mine"))
        for namespace, session in (("own", "theirs"), ("other", "theirs"), ("other", "mine"), ("own", "mine")):
            error = await refusal(ATTEMPTS[method](client, Call("e", namespace, session)))
            if namespace == "other" or not enough:
                assert type(error) is PermissionDenied
                assert f"{who} may not call {method.rpartition('/')[2]} in namespace '{namespace}'" in str(error)
                unknown = await refusal(ATTEMPTS[method](client, Call("unknown", namespace, session)))
                assert str(unknown) == str(error), "it must not tell whether there is such an election"
            elif session == "theirs" and not method.startswith(INSPECTION):
                assert type(error) is NotSessionOwner
                assert "belongs to another principal" in str(error)
            else:
                assert error is None


@pytest.mark.parametrize("method", ATTEMPTS)
async def test_without_credentials_nothing_is_allowed(secured: Secured, method: str) -> None:
    """Nor with bad ones."""
    for token, reason in ((None, "carries no credentials"), ("wrong", "not known to this server")):
        async with secured.client(token) as client:
            for election in ("e", "unknown"):
                error = await refusal(ATTEMPTS[method](client, Call(election, "own", "theirs")))
                assert type(error) is Unauthenticated
                assert reason in str(error)


@pytest.mark.parametrize("method", sorted(filter(is_open, ROLE_OF_METHOD)))
async def test_what_is_open_is_there_for_anybody(secured: Secured, method: str) -> None:
    """It is answered without credentials, with bad ones, and where only certificates are asked for."""
    for credentials in ([], [("authorization", "Bearer wrong")], [("authorization", "nonsense")]):
        async with RawConnection(secured.port) as connection:
            stream = connection.begin(headers_of(method, *credentials))
            connection.send(stream, b"\0\0\0\0\0", end=True)
            await connection.until(lambda stream=stream: bool(connection.answers[stream].messages))
            refused = await connection.call(headers_of("GetTerm", *about("e", "", "own"), *credentials))
            assert (refused.status, refused.error) == (16, "Unauthenticated")
    assert Gate(needs_certificate=True).admit(replace(HEALTH_METHODS["Check"], path=method), [], {}).principal is NOBODY


async def test_refusals_are_counted_by_their_reason(tmp_path: Path) -> None:
    """Also those of streams that end because a token is withdrawn."""
    file = tmp_path / "counted.toml"
    tokens = write_access(file, ROLES)
    observer = Rejections()
    async with ElectionServer(access=file, observer=observer) as server:
        secured = Secured(server, file, tokens)
        for token in (None, "wrong", tokens["observer"]):
            async with secured.client(token) as client:
                assert await refusal(client.evict(Call("e", "own"), "a"))
        assert observer.reasons == ["Unauthenticated", "Unauthenticated", "PermissionDenied"]
        async with secured.client(tokens["member"]) as member, member.events(Call("e", "own")) as events:
            await anext(events)
            secured.change(digest_of(tokens["member"]).hex(), by=digest_of("another").hex())
            with pytest.raises(Unauthenticated):
                await anext(events)
        assert observer.reasons[3:4] == ["Unauthenticated"]


async def test_one_connection_may_carry_several_principals(secured: Secured) -> None:
    """Each call is judged by its own credentials, whatever the one before had."""
    member, operator = secured.tokens["member"], secured.tokens["operator"]
    async with RawConnection(secured.port) as connection:
        statuses: list[int | None] = []
        for session, token in (("m", member), ("o", operator), ("m", operator), ("o", member), ("m", member)):
            headers = headers_of("Create", *about("e", session, "own"), ("authorization", f"Bearer {token}"))
            statuses.append((await connection.call(headers, b"\0\0\0\0\2\n\0")).status)
    assert statuses == [0, 0, 7, 7, 0]


@pytest.mark.parametrize(
    "values", [["secret"], ["Basic secret"], ["Bearer"], ["Bearer "], ["Bearer a secret"], [""], ["OK", "OK"]], ids=str
)
async def test_malformed_credentials(secured: Secured, values: list[str]) -> None:
    """UNAUTHENTICATED, and they are not quoted."""
    given = [("authorization", each.replace("OK", f"Bearer {secured.tokens['member']}")) for each in values]
    async with RawConnection(secured.port) as connection:
        answer = await connection.call(headers_of("GetTerm", *about("e", "", "own"), *given))
        assert (answer.status, answer.error) == (16, "Unauthenticated")
        assert "secret" not in answer.headers["grpc-message"]
        good = ("authorization", f"bearer  {secured.tokens['member']}")
        assert (await connection.call(headers_of("GetTerm", *about("e", "", "own"), good))).status == 0


async def test_who_wants_to_lead_is_told_at_once(secured: Secured, authority: Authority) -> None:
    """It does not wait for credentials to become good, as it would for a server that is down."""

    async def refused(server: ElectionServer, kind: type[ElectionError], **options: object) -> None:
        async with LeaderElection("e", target=server.target, namespace="own", **options) as election:  # type: ignore[arg-type]
            for attempt in (election.enter, election.lead().__aenter__, lambda: election.run(_never)):
                with anyio.fail_after(SOON_S), pytest.raises(kind):
                    await attempt()

    await refused(secured.server, Unauthenticated)
    await refused(secured.server, Unauthenticated, token="wrong")
    await refused(secured.server, PermissionDenied, token=secured.tokens["observer"])
    async with ElectionServer(tls=authority.server(client_ca=authority.ca)) as server:
        await refused(server, Unauthenticated, tls=authority.client())


async def _never(_: object) -> None:
    raise AssertionError("it does not lead")


async def keep_alive_while(client: RpcClient, change: Callable[[], None]) -> None:
    """Renew, let something happen, and go on until the server ends the stream."""
    with anyio.fail_after(SOON_S):
        async with client.keep_alive("own", "s") as stream:
            await stream.send(Renewal(1, open=True))
            await stream.receive()
            change()
            await stream.receive()


async def test_streams_end_when_their_token_is_withdrawn(secured: Secured) -> None:
    """At the moment when the file is read again, with the reason; others' go on."""
    token = secured.tokens["member"]
    async with (
        secured.client(token) as member,
        secured.client(secured.tokens["owner"]) as owner,
        owner.events(Call("e", "own")) as kept,
        member.events(Call("e", "own")) as events,
    ):
        await anext(kept)
        await anext(events)
        with pytest.raises(Unauthenticated, match="not known"):
            await keep_alive_while(
                member, lambda: secured.change(digest_of(token).hex(), by=digest_of("another").hex())
            )
        with pytest.raises(Unauthenticated, match="not known"):
            await anext(events)
        await owner.evict(Call("e", "own"), "candidate")
        assert (await anext(kept)).term.leader is None


async def test_streams_end_when_their_role_is_withdrawn(secured: Secured) -> None:
    """PERMISSION_DENIED, for what needs the role, and only that."""
    async with secured.client(secured.tokens["member"]) as member, member.events(Call("e", "own")) as events:
        await anext(events)
        with pytest.raises(PermissionDenied, match="may not call KeepAlive"):
            await keep_alive_while(member, lambda: secured.change('take_part = ["own"]', by='observe = ["own"]'))
        async with secured.client(secured.tokens["owner"]) as owner:
            await owner.evict(Call("e", "own"), "candidate")
        assert (await anext(events)).term.leader is None


async def test_streams_end_when_their_credentials_become_another_principals(secured: Secured) -> None:
    """As the sessions stay those of the former one."""
    async with secured.client(secured.tokens["member"]) as member, member.events(Call("e", "own")) as events:
        await anext(events)
        secured.change("[principals.member]", by="[principals.renamed]")
        with pytest.raises(Unauthenticated, match="another principal now"):
            await anext(events)


async def test_a_call_that_had_only_begun_ends_as_well(secured: Secured) -> None:
    """Else its body could be sent long after the token was withdrawn."""
    token = secured.tokens["operator"]
    headers = headers_of("Evict", *about("e", "", "own"), ("authorization", f"Bearer {token}"))
    async with RawConnection(secured.port) as connection:
        stream = connection.begin(headers)
        await connection.call(headers_of("GetTerm", *about("e", "", "own"), ("authorization", f"Bearer {token}")))
        secured.change(digest_of(token).hex(), by=digest_of("another").hex())
        assert (await connection.ended(stream)).status == 16


async def test_a_call_that_was_asked_for_is_answered(secured: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if its token was withdrawn while it was written: it took place, and a refusal would say that it did not."""
    being_written, go_on, write = anyio.Event(), anyio.Event(), MemoryStore.write

    async def write_later(
        store: MemoryStore, election_id: ElectionId, election: Election, *, expected: int
    ) -> Record | None:
        being_written.set()
        await go_on.wait()
        return await write(store, election_id, election, expected=expected)

    monkeypatch.setattr(MemoryStore, "write", write_later)
    monkeypatch.setattr(MemoryStore, "read_now", lambda *_: None)  # which would not have to wait
    token = secured.tokens["operator"]
    headers = headers_of("Evict", *about("e", "", "own"), ("authorization", f"Bearer {token}"))
    async with RawConnection(secured.port) as connection:
        stream = connection.begin(headers)
        connection.send(stream, message(b"\x0a\x09candidate"), end=True)
        with anyio.fail_after(SOON_S):
            await being_written.wait()
        secured.change(digest_of(token).hex(), by=digest_of("another").hex())
        go_on.set()
        assert (await connection.ended(stream)).status == 0


async def test_a_broken_file_changes_nothing(secured: Secured) -> None:
    """And is refused with line and reason, also at the start."""
    good = secured.file.read_text()
    async with secured.client(secured.tokens["member"]) as member, member.events(Call("e", "own")) as events:
        await anext(events)
        with pytest.raises(InvalidRequest, match=rf"access file {secured.file}, line 1: .*no principals"):
            secured.change(good)
        secured.file.unlink()
        with pytest.raises(InvalidRequest, match="cannot be read: No such file"):
            secured.server.reload()
        secured.file.write_bytes(b"\xff")
        with pytest.raises(InvalidRequest, match="not text in UTF-8"):
            secured.server.reload()
        with pytest.raises(InvalidRequest, match="not text in UTF-8"):
            async with ElectionServer(access=secured.file):
                pass
        await member.get_term(Call("e", "own"))
        async with secured.client(secured.tokens["owner"]) as owner:
            await owner.evict(Call("e", "own"), "candidate")
        assert (await anext(events)).term.leader is None


async def test_a_client_goes_on_when_its_token_is_replaced(secured: Secured, tmp_path: Path) -> None:
    """It leads on, its watch goes on, and what is taken from it is only what it had no time to replace."""
    file = tmp_path / "token"
    file.write_text(secured.tokens["member"])
    async with connect(secured.server.target, namespace="own", token=file) as client:
        election = client.election("mine", candidate_id="a")
        async with election.events() as events, election.lead() as leadership:
            assert (await anext(events)).term.leader is None
            assert (await anext(events)).term.leader == "a"
            file.write_text("the-new-one")
            secured.change(digest_of(secured.tokens["member"]).hex(), by=digest_of("the-new-one").hex())
            async with secured.client(secured.tokens["operator"]) as operator:
                await operator.create(Call("mine", "own", "s"))
                await operator.enter(Call("mine", "own", "s"), "b")
            event = await anext(events)
            assert event.term.candidates == ("a", "b")
            leadership.ensure()
            await election.get_term()


async def test_who_waits_for_the_lead_is_told_when_its_session_is_over(secured: Secured) -> None:
    """It would wait for nothing: no other session is opened for it."""
    token = secured.tokens["member"]
    connecting = connect(secured.server.target, namespace="own", session_ttl=1.0, token=token)
    async with connecting as client, secured.client(secured.tokens["owner"]) as owner:
        election = client.election("e", candidate_id="a")

        async def withdraw_token() -> None:
            async with owner.events(Call("e", "own")) as events:
                while "a" not in (await anext(events)).term.candidates:
                    pass
            secured.change(digest_of(token).hex(), by=digest_of("another").hex())

        with anyio.fail_after(SOON_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(withdraw_token)
                with pytest.raises(Unauthenticated, match="not known"):
                    await election.lead().__aenter__()


@pytest.fixture
async def certified(authority: Authority, tmp_path: Path) -> AsyncGenerator[tuple[ElectionServer, Path, str]]:
    """A server that knows alice by a token and a machine by its certificate; its access file, and alice's token."""
    access = tmp_path / "certified.toml"
    machine = 'certificate = ["DNS:machine.example"]\ntake_part = ["*"]'
    tokens = write_access(access, {"alice": 'administer = ["*"]'}, machine=machine)
    async with ElectionServer(tls=authority.server(client_ca=authority.ca), access=access) as server:
        yield server, access, tokens["alice"]


async def test_a_certificate_is_a_principal(certified: tuple[ElectionServer, Path, str], authority: Authority) -> None:
    """By its names; a token goes before it, and needs none."""
    server, _, token = certified
    machine = authority.client(authority.issue("machine.example"))
    unknown = authority.client(authority.issue("unknown.example"))
    async with connect(server.target, tls=machine) as client:
        election = client.election("e", candidate_id="a")
        await election.enter()
        with pytest.raises(PermissionDenied, match="machine may not call Evict"):
            await election.evict("a")
        async with connect(server.target, tls=machine, token=token) as alice:
            assert (await alice.election("e").evict("a")).leader is None
        async with connect(server.target, tls=authority.client(), token=token) as alice:
            assert (await alice.election("e").get_term()).leader is None
    async with connect(server.target, tls=unknown) as stranger:
        with pytest.raises(Unauthenticated, match=r"no principal, its names are DNS:unknown\.example"):
            await stranger.election("e").get_term()


async def test_a_stream_ends_when_its_certificate_is_not_allowed_any_more(
    certified: tuple[ElectionServer, Path, str], authority: Authority
) -> None:
    """Though its connection lives on."""
    server, access, _ = certified
    connecting = connect(server.target, tls=authority.client(authority.issue("machine.example")))
    async with connecting as client, client.election("e").events() as events:
        await anext(events)
        access.write_text(access.read_text().replace("machine.example", "other.example"))
        server.reload()
        with pytest.raises(Unauthenticated, match="no principal"):
            await anext(events)


async def test_sessions_of_before_are_nobodys(secured: Secured) -> None:
    """Who opened one without credentials does not get at it when the server asks for some."""
    open_server = ElectionServer("memory://owners")
    server = ElectionServer("memory://owners", access=secured.file)
    async with open_server, server, connect(open_server.target) as client:
        await client.service.create(Call("e", session="s"))
        await client.service.enter(Call("e", session="s"), "a")
        async with connect(server.target, token=secured.tokens["owner"]) as owner:
            with pytest.raises(PermissionDenied, match="belongs to another principal"):
                await owner.service.withdraw(Call("e", session="s"), "a")
            with pytest.raises(SessionEnded):
                await owner.service.withdraw(Call("e", session="another"), "a")
            assert (await owner.election("e").evict("a")).leader is None
