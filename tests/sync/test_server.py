"""A server for code that is not asynchronous."""

import pytest

from atomix_election.sync import ElectionServer, InvalidRequest, ServerTls, Unavailable, connect
from tests.certificates import Authority


def test_it_serves_while_its_block_lasts() -> None:
    """Again and again; outside there is no target, and inside not a second block."""
    server = ElectionServer()
    for _ in range(2):
        for call in (lambda: server.target, server.reload):
            with pytest.raises(Unavailable, match="not running"):
                call()
        with server:
            with pytest.raises(InvalidRequest, match="running already"), server:
                pass
            with connect(server.target) as client:
                assert client.election("e", candidate_id="a").enter().leader == "a"


def test_a_server_that_cannot_start_leaves_nothing(server: ElectionServer) -> None:
    """The port is in use; it can be tried again."""
    other = ElectionServer(port=int(server.target.rpartition(":")[2]))
    for _ in range(2):
        with pytest.raises(Unavailable, match="cannot listen"), other:
            pass


def test_certificates_are_read_again(authority: Authority) -> None:
    """Those that cannot be used are told of, and the former ones stay."""
    files = authority.issue("127.0.0.1")
    with ElectionServer(tls=ServerTls(files.certificate, files.key)) as server:
        server.reload()
        files.certificate.write_text("damaged")
        with pytest.raises(InvalidRequest, match=files.certificate.name):
            server.reload()
        with connect(server.target, tls=authority.client()) as client:
            assert client.election("e").get_term().number == 0
