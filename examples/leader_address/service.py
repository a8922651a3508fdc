"""A service that gives out numbers. Its leader does, and the others forward to it what they are asked.

``python service.py grpc://localhost:5678 127.0.0.1:8001``, and the same with other addresses; then
``curl --request POST http://127.0.0.1:8001/`` at any of them. The candidate id of each is its address: so the term says
where the leader is, and whoever may enter the election decides where requests go.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Thread

from atomix_election.sync import ElectionError, LeaderElection, Leadership, LeadershipLost

ELECTION = "numbers"
FORWARDED = "X-Forwarded-To-Leader"
"""Marks what was forwarded, and is never forwarded again: two that take each other for the leader would not end."""
CALL_S = 5.0
"""How long another one may take to answer."""
WAIT_S = 5.0
"""How long a request waits for somebody to lead."""
PAUSE_S = 0.1

Answer = tuple[HTTPStatus, str]


class Numbers:
    """What each of them does with a request. The election's candidate id is the address at which this one is asked."""

    def __init__(self, election: LeaderElection) -> None:
        self._election = election
        self._leader: str | None = None  # who led at last; whoever leads no more says so
        self._led: tuple[Leadership, Iterator[int]] | None = None

    def work(self, leadership: Leadership) -> None:
        """Lead, until the lead is lost. The threads of requests give the numbers."""
        self._led = leadership, count(1)
        leadership.lost.wait()

    def answer(self, *, is_forwarded: bool) -> Answer:
        if (given := self._give()) is not None:
            return given
        if is_forwarded:
            return HTTPStatus.MISDIRECTED_REQUEST, "this one does not lead\n"
        try:
            return self._forward()
        except ElectionError as error:
            return HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n"

    def _give(self) -> Answer | None:
        """Give the next number, as the leader: below a token each comes once, and the next leader has a higher one."""
        if self._led is None:
            return None
        leadership, numbers = self._led
        try:
            leadership.ensure()
        except LeadershipLost:
            return None
        return HTTPStatus.OK, f"{leadership.token}.{next(numbers)}\n"

    def _forward(self) -> Answer:
        """Ask the leader; as long as there is none, or it has just changed, find out who leads, and ask again."""
        deadline = time.monotonic() + WAIT_S
        while (answer := self._give() or self._ask(self._leader)) is None:
            former, self._leader = self._leader, self._election.get_term().leader
            if time.monotonic() > deadline:
                return HTTPStatus.SERVICE_UNAVAILABLE, "nobody leads: try again\n"
            if self._leader == former:
                time.sleep(PAUSE_S)
        return answer

    def _ask(self, leader: str | None) -> Answer | None:
        """Forward a request, and return the answer; None where it was certainly not carried out."""
        if leader is None or leader == self._election.candidate_id:
            return None
        try:
            connection = HTTPConnection(leader, timeout=CALL_S)
            connection.connect()
        except (OSError, HTTPException):
            return None
        try:
            with closing(connection):
                connection.request("POST", "/", headers={FORWARDED: self._election.candidate_id})
                response = connection.getresponse()
                answer = HTTPStatus(response.status), response.read().decode()
        except (OSError, HTTPException, ValueError):
            return HTTPStatus.BAD_GATEWAY, "the leader did not answer: it may have given a number, or not\n"
        return None if answer[0] is HTTPStatus.MISDIRECTED_REQUEST else answer


def serve(numbers: Numbers, host: str, port: int) -> ThreadingHTTPServer:
    """Return a server that listens, and answers as long as its ``serve_forever`` runs."""

    class Handler(BaseHTTPRequestHandler):
        timeout = CALL_S  # for a client that says nothing

        def do_POST(self) -> None:
            status, text = numbers.answer(is_forwarded=FORWARDED in self.headers)
            self.send_response(status)
            if status is HTTPStatus.SERVICE_UNAVAILABLE:
                self.send_header("Retry-After", "1")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

    return ThreadingHTTPServer((host, port), Handler)


def main(target: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    with LeaderElection(ELECTION, target=target, candidate_id=address, handle_signals=True) as election:
        numbers = Numbers(election)
        with serve(numbers, host, int(port)) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            try:
                election.run(numbers.work)
            finally:
                server.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
