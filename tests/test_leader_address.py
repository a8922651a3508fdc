"""What a follower of examples/leader_address makes of leaders that are gone, have just changed, or do not answer."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import NamedTuple

import pytest

from atomix_election.sync import Client, ElectionServer, connect
from tests.ports import free_port
from tests.ready_made import LONGEST_S, load

service = load("leader_address/service.py")
ELECTION = service.ELECTION
MARK = {service.FORWARDED: "127.0.0.1:1"}


class Answer(NamedTuple):
    status: int
    text: str
    retry_after: str | None


@pytest.fixture(autouse=True)
def shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for long."""
    monkeypatch.setattr(service, "WAIT_S", 0.2)
    monkeypatch.setattr(service, "PAUSE_S", 0.01)


@pytest.fixture
def client() -> Generator[Client]:
    with ElectionServer() as server, connect(server.target) as client:
        yield client


@contextmanager
def serving(server: ThreadingHTTPServer) -> Generator[str]:
    """Serve as long as the block lasts, and give the address."""
    with server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def follower(client: Client) -> Generator[str]:
    """One that stands in no queue here; its address."""
    port = free_port()
    numbers = service.Numbers(client.election(ELECTION, candidate_id=f"127.0.0.1:{port}"))
    with serving(service.serve(numbers, "127.0.0.1", port)) as address:
        yield address


Elect = Callable[[Callable[[], int]], tuple[str, list[str]]]


@pytest.fixture
def elect(client: Client) -> Generator[Elect]:
    """Let a server lead that answers what it is told; return its address, and who has forwarded to it."""
    with ExitStack() as ends:

        def elect(answer: Callable[[], int]) -> tuple[str, list[str]]:
            asked: list[str] = []

            class Handler(BaseHTTPRequestHandler):
                def do_POST(self) -> None:
                    asked.append(self.headers[service.FORWARDED])
                    if status := answer():
                        self.send_response(status)
                        self.end_headers()
                        self.wfile.write(b"9.9\n")

            address = ends.enter_context(serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)))
            lead(client, address)
            return address, asked

        yield elect


def lead(client: Client, address: str) -> None:
    election = client.election(ELECTION, candidate_id=address)
    election.enter()
    election.anoint(address)


def ask(address: str, headers: dict[str, str] | None = None) -> Answer:
    connection = HTTPConnection(address, timeout=LONGEST_S)
    try:
        connection.request("POST", "/", headers=headers or {})
        response = connection.getresponse()
        return Answer(response.status, response.read().decode(), response.headers["Retry-After"])
    finally:
        connection.close()


def test_nobody_leads(follower: str) -> None:
    assert ask(follower) == (503, "nobody leads: try again\n", "1")


def test_nobody_is_where_the_leader_is_said_to_be(client: Client, follower: str) -> None:
    """Nor at what is no address."""
    lead(client, f"127.0.0.1:{free_port()}")
    assert ask(follower).status == 503
    lead(client, "127.0.0.1:none")
    assert ask(follower).status == 503


def test_one_that_is_first_but_may_not_act_yet_does_not_ask_itself(
    client: Client, follower: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forwarded: list[bool] = []
    answer = service.Numbers.answer

    def noted(numbers: object, *, is_forwarded: bool) -> object:
        forwarded.append(is_forwarded)
        return answer(numbers, is_forwarded=is_forwarded)

    monkeypatch.setattr(service.Numbers, "answer", noted)
    lead(client, follower)
    assert ask(follower).status == 503
    assert forwarded == [False]


def test_the_leader_is_asked(follower: str, elect: Elect) -> None:
    _, asked = elect(lambda: 200)
    assert ask(follower) == (200, "9.9\n", None)
    assert asked == [follower]


def test_the_leader_has_changed_on_the_way(follower: str, elect: Elect) -> None:
    """One that refuses is not believed to lead, and whoever leads by then is asked."""

    def hand_over() -> int:
        nonlocal successor
        successor = elect(lambda: 200)
        return 421

    successor: tuple[str, list[str]] = "", []
    _, asked = elect(hand_over)
    assert ask(follower) == (200, "9.9\n", None)
    assert (asked, successor[1]) == ([follower], [follower])


def test_who_leads_is_remembered_until_it_refuses(client: Client, follower: str, elect: Elect) -> None:
    status = 200
    _, former_asked = elect(lambda: status)
    assert ask(follower).status == 200
    _, asked = elect(lambda: 200)
    status = 421
    assert [ask(follower).status, ask(follower).status] == [200, 200]
    assert (former_asked, asked) == ([follower] * 2, [follower] * 2)


def test_what_was_forwarded_is_not_forwarded_again(follower: str, elect: Elect) -> None:
    _, asked = elect(lambda: 200)
    assert ask(follower, MARK) == (421, "this one does not lead\n", None)
    assert asked == []


def test_two_that_take_each_other_for_the_leader_come_to_an_end(client: Client, follower: str) -> None:
    """One forwards to the other as long as a request may wait, and the other forwards nothing."""
    port = free_port()
    numbers = service.Numbers(client.election(ELECTION, candidate_id=f"127.0.0.1:{port}"))
    with serving(service.serve(numbers, "127.0.0.1", port)) as other:
        lead(client, follower)
        assert ask(other).status == 503
        lead(client, other)
        assert ask(follower).status == 503
        assert ask(other).status == 503


def test_what_may_have_been_carried_out_is_not_sent_again(follower: str, elect: Elect) -> None:
    _, asked = elect(lambda: 0)
    assert ask(follower).status == 502
    assert asked == [follower]


def test_other_answers_of_the_leader_are_passed_on(follower: str, elect: Elect) -> None:
    elect(lambda: 500)
    assert ask(follower) == (500, "9.9\n", None)
