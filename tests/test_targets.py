"""What a target may look like, and what is said of others."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest

from atomix_election import ClientTls, ElectionServer, InvalidRequest, LeaderElection, StoreError, connect, targets
from atomix_election.model import ElectionId
from atomix_election.rpc.client_connection import Endpoint
from atomix_election.stores.etcd_keys import DEFAULT_PREFIX
from atomix_election.targets import DEFAULT_PORT, ETCD_PORT, parse_endpoints, preferred_first
from tests.certificates import Authority
from tests.etcd.cluster import free_ports

GOOD = {
    "localhost:1": [("localhost", 1)],
    "localhost": [("localhost", DEFAULT_PORT)],
    "10.0.0.1:65535": [("10.0.0.1", 65535)],
    "[::1]:5678": [("::1", 5678)],
    "[::1]": [("::1", DEFAULT_PORT)],
    "[fe80::1%2]:1": [("fe80::1%2", 1)],
    "[fe80::1%eth0]:1": [("fe80::1%eth0", 1)],
    "[::ffff:10.0.0.1]:1": [("::ffff:10.0.0.1", 1)],
    "a:1,b:2,c": [("a", 1), ("b", 2), ("c", DEFAULT_PORT)],
    "a:1,[::2]:3": [("a", 1), ("::2", 3)],
    "a.example:1/": [("a.example", 1)],
    "xn--bcher-kva.example:80": [("xn--bcher-kva.example", 80)],
}
BAD = [
    "",
    ",",
    "a:1,",
    ",a:1",
    "a:1,,b:2",
    ":1",
    "a:",
    "a:0",
    "a:65536",
    "a:-1",
    "a:+1",
    "a:1.5",
    "a:port",
    "a:\N{ARABIC-INDIC DIGIT ONE}",
    "a:1:2",
    "::1:5678",
    "::1",
    "[::1",
    "::1]:1",
    "[]:1",
    "a b:1",
    " a:1",
    "a:1 ",
    "a:1\n",
    "a\0b:1",
    "user@a:1",
    "a:1/path",
    "a:1?query",
    "a:1#part",
]
UNKNOWN = ["", "a", "a:1", "memory", "memory:", "memory:/", "://", "http://a:1", "GRPC://a:1", "etcd//a", "grpc:/a:1"]


@pytest.mark.parametrize("text", GOOD)
def test_endpoints_are_read(text: str) -> None:
    """Hosts, IPv6 addresses in brackets, ports or the default, several of them in their order."""
    assert parse_endpoints(f"grpc://{text}", text) == [Endpoint(*each) for each in GOOD[text]]


@pytest.mark.parametrize("text", BAD)
def test_malformed_endpoints_are_refused(text: str) -> None:
    """The message begins with what the user wrote."""
    target = f"grpc://{text}"
    with pytest.raises(InvalidRequest) as refused:
        parse_endpoints(target, text)
    assert str(refused.value).startswith(f"target {target!r}")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("text", BAD)
async def test_connecting_to_malformed_endpoints_is_refused(text: str) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidRequest):
        async with connect(f"grpc://{text}"):
            pass


def test_port_0_is_for_those_who_listen() -> None:
    """A client cannot connect to any free port."""
    assert parse_endpoints("a:0", "a:0", lowest_port=0) == [Endpoint("a", 0)]


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


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("target", ["grpc://a:1", "http://a", "nothing"])
async def test_a_server_cannot_be_a_store(target: str) -> None:
    """Elections run on a store; another server is none."""
    with pytest.raises(InvalidRequest, match="is not known"):
        async with ElectionServer(target):
            pass


def test_an_endpoint_is_written_as_it_was_read() -> None:
    """With the brackets of an IPv6 address."""
    for text in ("localhost:1", "[::1]:5678"):
        assert str(parse_endpoints(text, text)[0]) == text


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
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("in_a_file", [False, True])
@pytest.mark.parametrize("text", ["secret", ":secret", "secret:", ":", ""])
async def test_a_token_for_etcd_is_user_and_password(text: str, in_a_file: bool, tmp_path: Path) -> None:
    """The message says so, and shows nothing of it."""
    token = tmp_path / "token"
    token.write_text(text)
    for opening in (
        connect("etcds://127.0.0.1:1", token=token if in_a_file else text),
        ElectionServer("etcd://127.0.0.1:1", store_token=token if in_a_file else text),
    ):
        with pytest.raises(InvalidRequest, match="is not USER:PASSWORD") as refused:
            async with opening:
                pass
        assert "secret" not in str(refused.value)
        assert (str(token) in str(refused.value)) == in_a_file


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_file_for_etcd_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """And nothing of what is in it."""
    with pytest.raises(InvalidRequest, match=r"token file .*absent cannot be read"):
        async with connect("etcd://127.0.0.1:1", token=tmp_path / "absent"):
            pass
    (tmp_path / "binary").write_bytes(b"user:\xffsecret")
    with pytest.raises(InvalidRequest, match=r"token file .*binary is not text") as refused:
        async with connect("etcd://127.0.0.1:1", token=tmp_path / "binary"):
            pass
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("token", ["user:pass:word ", Path("token")])
def test_user_and_password_are_read(token: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The password may have colons; space around what is in a file does not count."""
    monkeypatch.chdir(tmp_path)
    Path("token").write_text("user:pass:word\n")
    expected = "pass:word " if isinstance(token, str) else "pass:word"
    assert targets._user_and_password(token) == ("user", expected)


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


ELECTIONS = [f"e{number}" for number in range(12)]


def test_each_election_has_a_server_that_comes_first() -> None:
    """The same for all, whatever the order they were given in; the others stay in that order."""
    endpoints = parse_endpoints("", "a:1,b:2,[::1]:3,d:4")
    first = {name: preferred_first(endpoints, ElectionId("default", name))[0] for name in ELECTIONS}
    assert len(set(first.values())) > 1
    for name, preferred in first.items():
        for given in (endpoints, endpoints[::-1], [*endpoints, *endpoints]):
            found = preferred_first(given, ElectionId("default", name))
            assert found == [preferred, *(each for each in given if each != preferred)]
    assert any(preferred_first(endpoints, ElectionId("other", name))[0] != first[name] for name in ELECTIONS)


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
