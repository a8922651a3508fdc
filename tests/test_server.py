"""Where an embedded server may listen."""

import gc
import socket
from pathlib import Path

import pytest

from atomix_election import ElectionServer, InvalidRequest, ServerTls, connect

TLS = ServerTls("certificate.pem", "key.pem")
MUTUAL = ServerTls("certificate.pem", "key.pem", "ca.pem")
ACCESS = Path("access.toml")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "elections.example", "localhost.example"])
def test_it_does_not_listen_where_others_get_unless_it_is_secured(host: str) -> None:
    """With TLS and a way to know who calls, or when it is said that this is meant."""
    for tls, access in ((None, None), (TLS, None), (None, ACCESS)):
        with pytest.raises(InvalidRequest, match="may be reached from other machines") as refused:
            ElectionServer(host=host, tls=tls, access=access)
        for option in ("--certificate", "--key", "--auth", "--client-ca", "--insecure", "insecure=True"):
            assert option in str(refused.value)
        ElectionServer(host=host, tls=tls, access=access, insecure=True)
    ElectionServer(host=host, tls=TLS, access=ACCESS)
    ElectionServer(host=host, tls=MUTUAL)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_it_listens_on_loopback_as_it_is(host: str) -> None:
    """That is for tests, and for one machine."""
    ElectionServer(host=host)


def test_a_socket_that_is_handed_over_counts_with_its_own_address() -> None:
    """Whatever host is given beside it."""
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        with pytest.raises(InvalidRequest, match=r"0\.0\.0\.0:\d+ may be reached from other machines"):
            ElectionServer(host="127.0.0.1", listener=listener)
        ElectionServer(listener=listener, tls=TLS, access=ACCESS)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_answers_of_a_socket_that_is_handed_over_wait_for_nothing() -> None:
    """asyncio leaves Nagle's algorithm on for sockets that were not made for TCP by number, as this one is not."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with ElectionServer(listener=listener) as server, connect(server.target) as client:
            await client.election("e").get_term()
            accepted = [each for each in _sockets() if each.getsockname() == listener.getsockname()]
            assert accepted
            assert all(each.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for each in accepted)


def _sockets() -> list[socket.socket]:
    """Return the connected sockets of this process."""
    found = [each for each in gc.get_objects() if isinstance(each, socket.socket) and each.fileno() >= 0]
    return [each for each in found if each.type == socket.SOCK_STREAM and _is_connected(each)]


def _is_connected(each: socket.socket) -> bool:
    try:
        each.getpeername()
    except OSError:
        return False
    return each.family == socket.AF_INET
