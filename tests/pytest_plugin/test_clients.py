"""A client in a thread of its own."""

import threading

import pytest

from atomix_election import Client, InvalidRequest, NotACandidate
from atomix_election.pytest_plugin.clients import client_in_a_thread


async def add(client: Client, first: int, *, second: int) -> tuple[int, str]:
    assert isinstance(client, Client)
    return first + second, threading.current_thread().name


def test_run() -> None:
    """It hands on what it is given, what is returned and what is raised, and no thread is left."""
    before = set(threading.enumerate())
    with client_in_a_thread("memory://", {}) as client:
        total, thread = client.run(add, 1, second=2)
        assert total == 3
        assert thread != threading.current_thread().name
        with pytest.raises(NotACandidate):
            client.run(lambda each: each.election("e").evict("nobody"))
    assert set(threading.enumerate()) <= before


def test_a_session_goes_on_between_calls() -> None:
    with client_in_a_thread("memory://", {}) as client:
        assert client.run(lambda each: each.election("e", candidate_id="a").enter()).leader == "a"
        assert client.run(lambda each: each.election("e").get_term()).leader == "a"


def test_what_connect_refuses() -> None:
    before = set(threading.enumerate())
    with pytest.raises(InvalidRequest), client_in_a_thread("http://somewhere", {}):
        pass
    assert set(threading.enumerate()) <= before
