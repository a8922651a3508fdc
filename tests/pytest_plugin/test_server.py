"""A server in a thread: what it does when it is restarted, and what is said when something cannot be done."""

import threading
from collections.abc import Generator

import pytest

from atomix_election import InvalidRequest, LossReason, NotACandidate, Unavailable
from atomix_election.pytest_plugin import BackgroundClient, BackgroundServer
from atomix_election.pytest_plugin import server as server_module
from atomix_election.pytest_plugin.clients import client_in_a_thread
from atomix_election.stores.memory import MemoryStore


@pytest.fixture
def server() -> Generator[BackgroundServer]:
    """One that is over in the end, thread and all."""
    before = set(threading.enumerate())
    with BackgroundServer() as server:
        yield server
    assert set(threading.enumerate()) <= before


@pytest.fixture
def client(server: BackgroundServer) -> Generator[BackgroundClient]:
    with client_in_a_thread(server.target, {"session_ttl": 1.0}) as client:
        yield client


def enter(client: BackgroundClient, candidate_id: str) -> int:
    return client.run(lambda each: each.election("e", candidate_id=candidate_id).enter()).number


def leader(client: BackgroundClient) -> str | None:
    return client.run(lambda each: each.election("e").get_term()).leader


def test_a_restart_keeps_address_and_elections(server: BackgroundServer, client: BackgroundClient) -> None:
    target, number = server.target, enter(client, "a")
    server.restart()
    assert server.target == target
    assert client.run(lambda each: each.election("e").get_term()).number == number
    assert leader(client) == "a"


def test_a_new_store_is_empty(server: BackgroundServer) -> None:
    with client_in_a_thread(server.target, {}) as client:
        enter(client, "a")
    server.restart(new_store=True)
    with client_in_a_thread(server.target, {}) as other:
        assert other.run(lambda each: each.election("e").get_term()).number == 0


def test_stop(server: BackgroundServer, client: BackgroundClient) -> None:
    server.stop()
    with pytest.raises(InvalidRequest, match="does not run: start it first"):
        server.stop()
    server.start()
    with pytest.raises(InvalidRequest, match="runs already: stop it first"):
        server.start()
    assert enter(client, "a") == 1


@pytest.mark.parametrize("reason", [each for each in LossReason if each is not LossReason.WITHDRAWN])
def test_depose_returns_the_next_term(reason: LossReason, server: BackgroundServer, client: BackgroundClient) -> None:
    """The term that is there when it returns: nothing has to be waited for at the server."""
    enter(client, "a")
    with client_in_a_thread(server.target, {"session_ttl": 30.0}) as other:
        enter(other, "b")
        term = server.depose("e", reason)
        assert term.leader == (None if reason is LossReason.STORE_CHANGED else "b")
        if reason is not LossReason.STORE_CHANGED:
            assert (term.number, leader(other)) == (2, "b")


@pytest.mark.parametrize("reason", [each for each in LossReason if each is not LossReason.WITHDRAWN])
def test_nobody_leads(reason: LossReason, server: BackgroundServer) -> None:
    with pytest.raises(NotACandidate, match="nobody leads 'e': wait until somebody does"):
        server.depose("e", reason)


def test_what_depose_refuses(server: BackgroundServer, client: BackgroundClient) -> None:
    enter(client, "a")
    with pytest.raises(InvalidRequest, match="a candidate withdraws itself"):
        server.depose("e", LossReason.WITHDRAWN)
    with pytest.raises(InvalidRequest, match="is the only candidate"):
        server.depose("e", LossReason.SUPERSEDED)
    with pytest.raises(NotACandidate):
        server.depose("e", namespace="elsewhere")
    server.stop()
    with pytest.raises(InvalidRequest, match="does not run"):
        server.depose("e")


def test_a_leader_that_does_not_stop(
    server: BackgroundServer, client: BackgroundClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not waited for without end. Here there is no time for one that would."""
    monkeypatch.setattr(server_module, "LONGEST_HAND_OVER_S", -1.0)
    enter(client, "a")
    with pytest.raises(TimeoutError, match="'e' has the same leader"):
        server.depose("e", LossReason.EXPIRED)


def test_a_store_object_cannot_be_made_anew() -> None:
    """It is asked for before the server is stopped, which goes on."""
    with BackgroundServer(MemoryStore()) as server, client_in_a_thread(server.target, {}) as client:
        enter(client, "a")
        with pytest.raises(InvalidRequest, match="cannot make another one: give it memory://"):
            server.depose("e", LossReason.STORE_CHANGED)
        assert leader(client) == "a"


@pytest.mark.parametrize("store", ["memory://shared", "etcd://localhost:2379"])
def test_stores_that_it_cannot_keep(store: str) -> None:
    with pytest.raises(InvalidRequest, match="use memory://, sqlite:///PATH or a store object"):
        BackgroundServer(store)


def test_before_and_after_its_block() -> None:
    server = BackgroundServer()
    with pytest.raises(Unavailable, match="never started"):
        _ = server.target
    with pytest.raises(InvalidRequest, match="not entered"):
        server.start()
    with server, pytest.raises(InvalidRequest, match="entered already"):
        server.__enter__()
    with pytest.raises(InvalidRequest, match="does not run"):
        server.stop()
