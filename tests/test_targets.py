"""What targets lead to, and what is said of those that lead nowhere."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple

import anyio
import pytest

from atomix_election import ClientTls, ElectionServer, InvalidRequest, LeaderElection, StoreError, connect
from atomix_election.addresses import ETCD_PORT, Endpoint, parse_endpoints, preferred_first
from atomix_election.model import ElectionId
from atomix_election.stores.etcd_keys import DEFAULT_PREFIX
from tests.certificates import Authority
from tests.etcd.cluster import free_ports
from tests.test_addresses import BAD, ELECTIONS

UNKNOWN = ["", "a", "a:1", "memory", "memory:", "memory:/", "://", "http://a:1", "GRPC://a:1", "etcd//a", "grpc:/a:1"]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("text", BAD)
async def test_connecting_to_malformed_endpoints_is_refused(text: str) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidRequest):
        async with connect(f"grpc://{text}"):
            pass


@pytest.mark.anyio
@pytest.mark.parametrize("target", UNKNOWN)
async def test_unknown_targets_are_refused(target: str) -> None:
    """The message quotes it, and says what is known."""
    with pytest.raises(InvalidRequest) as refused:
        async with connect(target):
            pass
    message = str(refused.value)
    assert message.startswith(f"target {target!r}")
    assert "memory://" in message
    assert "sqlite:///FILE" in message
    assert "grpc://HOST:PORT" in message


@pytest.mark.parametrize("text", BAD)
def test_targets_with_tls_have_the_same_form(text: str) -> None:
    """Checked when a LeaderElection is made."""
    with pytest.raises(InvalidRequest):
        LeaderElection("e", target=f"grpcs://{text}")
    LeaderElection("e", target="grpcs://a:1,[::1]:2", token="t", tls=ClientTls())


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("host", ["a", "10.0.0.1", "[::2]", "localhost.example", "127.0.0.1,a", "[::1],0.0.0.0"])
async def test_a_token_does_not_leave_this_machine_in_plain_text(host: str) -> None:
    """Not to one of several either; the message does not show it."""
    with pytest.raises(InvalidRequest, match="in plain text to another machine: use grpcs://") as refused:
        LeaderElection("e", target=f"grpc://{host}", token="secret")
    with pytest.raises(InvalidRequest, match="in plain text"):
        async with connect(f"grpc://{host}", token="secret"):
            pass
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "[::1]", "localhost", "LOCALHOST:1,127.0.0.1:2"])
def test_a_token_may_be_sent_on_loopback(host: str) -> None:
    """Where nobody can listen who cannot read the process anyway."""
    LeaderElection("e", target=f"grpc://{host}", token="t")


def test_what_does_not_go_together_is_refused() -> None:
    """Rather than left aside in silence."""
    with pytest.raises(InvalidRequest, match="does not use TLS, but certificates are given: is it grpcs://"):
        LeaderElection("e", target="grpc://127.0.0.1", tls=ClientTls())
    with pytest.raises(InvalidRequest, match="does not use TLS"):
        LeaderElection("e", tls=ClientTls())
    with pytest.raises(InvalidRequest, match="takes no token"):
        LeaderElection("e", token="t")


# Etcd.


ETCD = {
    "localhost": ([("localhost", ETCD_PORT)], ""),
    "a:1,[::1],b": ([("a", 1), ("::1", ETCD_PORT), ("b", ETCD_PORT)], ""),
    "a:1/elections": ([("a", 1)], "elections/"),
    "a:1,b:2/team/night-1_2.x": ([("a", 1), ("b", 2)], "team/night-1_2.x/"),
    f"a/{'x' * 256}": ([("a", ETCD_PORT)], "x" * 256 + "/"),
}
BAD_PREFIXES = ["", "/", "x/", "/x", "x//y", "x y", "x?", "x,y", "\N{LATIN SMALL LETTER U WITH DIAERESIS}", "x" * 257]


class _Stopped(Exception):
    """What would be connected to is known."""


class _Opened(NamedTuple):
    """What a client of etcd was made with, and the prefix of the store that was opened with it."""

    addresses: list[tuple[str, int]]
    tls: ClientTls | None
    user: str
    password: str
    prefix: str


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[_Opened]:
    """What etcd would be opened with."""
    found: list[_Opened] = []

    @asynccontextmanager
    async def client(addresses: list[tuple[str, int]], **settings: Any) -> AsyncGenerator[tuple[Any, ...]]:
        yield addresses, settings["tls"], settings["user"], settings["password"]

    def open_store(client: tuple[list[tuple[str, int]], ClientTls | None, str, str], *, prefix: str) -> None:
        found.append(_Opened(*client, prefix))
        raise _Stopped

    monkeypatch.setattr("atomix_election.etcd.EtcdClient", client)
    monkeypatch.setattr("atomix_election.stores.etcd.open_etcd_store", open_store)
    return found


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("text", ETCD)
async def test_members_and_prefix_of_etcd_are_read(text: str, opened: list[_Opened]) -> None:
    """With etcd's own port where none is named; for clients in this process, and for servers."""
    with pytest.raises(_Stopped):
        async with connect(f"etcd://{text}"):
            pass
    with pytest.raises(_Stopped):
        async with ElectionServer(f"etcds://{text}"):
            pass
    addresses, prefix = ETCD[text]
    assert [(each.addresses, each.prefix) for each in opened] == [(addresses, prefix or DEFAULT_PREFIX)] * 2
    assert [each.tls for each in opened] == [None, ClientTls()]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_certificates_and_token_for_etcd_are_handed_on(opened: list[_Opened], authority: Authority) -> None:
    """By clients, and by servers, whose own certificates are others."""
    tls, token = authority.client(), "user:word"
    with pytest.raises(_Stopped):
        async with connect("etcds://a", tls=tls, token=token):
            pass
    with pytest.raises(_Stopped):
        async with ElectionServer("etcds://a", store_tls=tls, store_token=token):
            pass
    assert [(each.tls, each.user, each.password) for each in opened] == [(tls, "user", "word")] * 2


@pytest.mark.parametrize("scheme", ["etcd", "etcds"])
@pytest.mark.parametrize("text", [each for each in BAD if each != "a:1/path"])
def test_malformed_members_of_etcd_are_refused(scheme: str, text: str) -> None:
    """When a LeaderElection is made."""
    with pytest.raises(InvalidRequest) as refused:
        LeaderElection("e", target=f"{scheme}://{text}")
    assert str(refused.value).startswith(f"target {f'{scheme}://{text}'!r}")


@pytest.mark.parametrize("prefix", BAD_PREFIXES)
def test_malformed_prefixes_of_etcd_are_refused(prefix: str) -> None:
    """Rather than that two who mean the same use different ones."""
    with pytest.raises(InvalidRequest, match="is no prefix of keys"):
        LeaderElection("e", target=f"etcd://a:1/{prefix}")


def test_what_does_not_go_with_etcd_is_refused() -> None:
    """A token in plain text to another machine, and certificates without TLS."""
    with pytest.raises(InvalidRequest, match="in plain text to another machine: use etcds://") as refused:
        LeaderElection("e", target="etcd://127.0.0.1,a", token="user:secret")
    assert "secret" not in str(refused.value)
    with pytest.raises(InvalidRequest, match="is it etcds://"):
        LeaderElection("e", target="etcd://127.0.0.1", tls=ClientTls())
    LeaderElection("e", target="etcd://127.0.0.1,[::1]", token="user:secret")
    LeaderElection("e", target="etcds://a", token="user:secret", tls=ClientTls())


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["trio"])
@pytest.mark.parametrize("scheme", ["etcd", "etcds"])
async def test_etcd_under_trio_is_refused(scheme: str) -> None:
    """Clearly, and at once."""
    with pytest.raises(InvalidRequest, match=r"needs asyncio.*under Trio, use memory://"):
        async with connect(f"{scheme}://127.0.0.1:1"):
            pass


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_etcd_that_does_not_answer_is_said() -> None:
    """In time, for clients in this process and for servers."""
    (port,) = free_ports(1)

    async def fail(opening: AbstractAsyncContextManager[object]) -> None:
        with pytest.raises(StoreError, match=f"127.0.0.1:{port}"):
            async with opening:
                pass

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail, connect(f"etcd://127.0.0.1:{port}"))
            tasks.start_soon(fail, ElectionServer(f"etcd://127.0.0.1:{port}"))


# Several servers.


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_election_goes_to_the_server_that_comes_first_for_it() -> None:
    """Of two that know nothing of each other, so that one can see which was asked; ``connect`` keeps the order."""
    async with ElectionServer() as one, ElectionServer() as other:
        both = [f"grpc://{','.join(each.target[7:] for each in order)}" for order in ((one, other), (other, one))]
        asked: set[str] = set()
        for number, name in enumerate(ELECTIONS):
            endpoints = parse_endpoints("", both[0][7:])
            first = f"grpc://{preferred_first(endpoints, ElectionId('default', name))[0]}"
            asked.add(first)
            async with LeaderElection(name, target=both[number % 2], candidate_id="a") as election:
                await election.enter()
                async with connect(first) as client:
                    assert (await client.election(name).get_term()).leader == "a"
        assert len(asked) == 2
        for target, first in ((both[0], one), (both[1], other)):
            async with connect(target) as client, connect(first.target) as there:
                for name in ELECTIONS:
                    await client.election(name, candidate_id="a").enter()
                    assert (await there.election(name).get_term()).leader == "a"


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_election_whose_first_server_is_down_goes_to_the_next() -> None:
    """It is an optimisation, and nothing more."""
    async with ElectionServer() as server:
        endpoints = [*parse_endpoints("", server.target[7:]), *(Endpoint("127.0.0.1", port) for port in free_ports(1))]
        names = [each for each in ELECTIONS if preferred_first(endpoints, ElectionId("default", each)) != endpoints]
        assert names
        target = f"grpc://{','.join(map(str, endpoints))}"
        async with LeaderElection(names[0], target=target, candidate_id="a") as election:
            assert (await election.enter()).leader == "a"
