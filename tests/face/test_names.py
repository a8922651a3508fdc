"""Targets whose names lead elsewhere after a while, as those of services in a cluster do."""

import socket
from typing import Any

import pytest

from atomix_election import ElectionServer, connect
from tests.face.party import until

pytestmark = pytest.mark.anyio

NAME = "elections.test"


class Names:
    """What a name leads to. It is the port that differs, as not every machine has two addresses of its own."""

    def __init__(self) -> None:
        self.port = 0
        self._resolve = socket.getaddrinfo

    def getaddrinfo(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        """See ``socket.getaddrinfo``."""
        if host == NAME:
            host, port = "127.0.0.1", self.port
        return self._resolve(host, port, *args, **kwargs)


@pytest.fixture
def anyio_backend() -> str:
    """gRPC needs asyncio."""
    return "asyncio"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """A resolver that a test can change."""
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    return names


def port_of(server: ElectionServer) -> int:
    """Return where a server listens."""
    return int(server.target.rpartition(":")[2])


async def test_a_name_is_resolved_each_time_that_a_connection_is_made(names: Names) -> None:
    """Reads, and a candidate that stands, go on where the name leads then."""
    async with ElectionServer() as second, connect(f"grpc://{NAME}:5678") as client, connect(second.target) as observer:
        election = client.election("e", candidate_id="a")
        async with observer.election("e").events() as events:
            async with ElectionServer() as first:
                names.port = port_of(first)
                assert (await election.enter()).leader == "a"
                assert (await anext(events)).term.leader is None
                names.port = port_of(second)
            assert (await until(events, lambda term: term.leader == "a")).number == 1
        assert (await election.get_term()).revision == 1
