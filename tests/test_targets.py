"""What a target may look like, and what is said of others."""

import pytest

from atomix_election import ClientTls, ElectionServer, InvalidRequest, LeaderElection, connect
from atomix_election.rpc.client_connection import Endpoint
from atomix_election.targets import DEFAULT_PORT, parse_endpoints

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
