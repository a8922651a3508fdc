"""What a runner does, over HTTP: for those that start, stop and route to it by asking."""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from atomix_election.http_port import serve_http
from atomix_election.supervise.runner import Status

LIVE_S = 10.0
"""For how long an event loop may be silent that is called alive; it looks at the clock several times a second."""

_ANSWERS: dict[str, Callable[[Status], bool]] = {
    "/leader": lambda status: status.leads,
    "/ready": lambda status: status.is_connected,
    "/live": lambda status: status.silent_s < LIVE_S,
}
"""Paths, and when each is answered with 200 and not with 503."""


def serve_probe(
    ask: Callable[[], Status], election: str, candidate_id: str, host: str, port: int
) -> AbstractAsyncContextManager[str]:
    """Serve what is asked for, for as long as the block lasts, and return the URL.

    ``/leader`` is 200 while it leads, from the election until the command is told to stop; ``/ready`` while it has an
    open session, and so stands in the queue or leads; ``/live`` while the process works, whatever becomes of the
    server. Otherwise they are 503. Each has the same JSON object.

    Args:
        ask: returns the state of the moment; it is called in threads.
        election: its name, for the answer.
        candidate_id: who stands in it, for the answer.
        host: the address to listen on.
        port: the port to listen on; 0 for any free one.

    Raises:
        Unavailable: the address cannot be listened on.
    """
    return serve_http(_app(ask, {"election": election, "candidate": candidate_id}), host, port, what="probes")


def _app(ask: Callable[[], Status], about: dict[str, str]) -> WSGIApplication:
    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        judge = _ANSWERS.get(environ["PATH_INFO"])
        if judge is None:
            return _respond(start_response, "404 Not Found", {"error": f"there are {', '.join(_ANSWERS)}"})
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _respond(start_response, "405 Method Not Allowed", {"error": "there are GET and HEAD"})
        status = ask()
        facts = about | {
            "phase": status.phase.value,
            "leader": status.leads,
            "token": status.token,
            "pid": status.pid,
            "connected": status.is_connected,
        }
        return _respond(start_response, "200 OK" if judge(status) else "503 Service Unavailable", facts)

    return answer


def _respond(start_response: StartResponse, status: str, said: Mapping[str, object]) -> Iterable[bytes]:
    body = json.dumps(said).encode() + b"\n"
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    start_response(status, headers)
    return [body]
