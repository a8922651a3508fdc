"""What a target may look like, and what is said of others."""

import pytest

from atomix_election import InvalidRequest
from atomix_election.addresses import DEFAULT_PORT, Endpoint, parse_endpoints, path_of_file, preferred_first
from atomix_election.model import ElectionId

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
    "5679",
    "5679:1",
    "a:1,5679",
]
ELECTIONS = [f"e{number}" for number in range(12)]


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


def test_port_0_is_for_those_who_listen() -> None:
    """A client cannot connect to any free port."""
    assert parse_endpoints("a:0", "a:0", lowest_port=0) == [Endpoint("a", 0)]


def test_an_endpoint_is_written_as_it_was_read() -> None:
    """With the brackets of an IPv6 address."""
    for text in ("localhost:1", "[::1]:5678"):
        assert str(parse_endpoints(text, text)[0]) == text


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


def test_a_file_is_written_as_a_path_or_as_a_target() -> None:
    """But no other target names a file."""
    assert path_of_file("a.db") == path_of_file("sqlite:///a.db") == "a.db"
    assert path_of_file("/a.db") == path_of_file("sqlite:////a.db") == "/a.db"
    for target in ("memory://", "grpc://a", "sqlite://a.db", "sqlite:///"):
        with pytest.raises(InvalidRequest, match=r"names no file|no third slash"):
            path_of_file(target)
