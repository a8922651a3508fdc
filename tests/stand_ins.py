"""What stands in for the servers of other elections where a guide shows their libraries: Redis, Consul, ZooKeeper.

The libraries are the real ones. Redis and Consul are spoken to over real sockets, as their own documents say;
ZooKeeper's client is replaced by one that keeps its nodes in memory.
"""

import json
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

from fakeredis import TcpFakeServer

ZOOKEEPER = """\
import runpy
import sys
from types import ModuleType, SimpleNamespace

import kazoo.client

# zake asks for its own version in a way that setuptools no longer has.
old = sys.modules["pkg_resources"] = ModuleType("pkg_resources")
old.get_distribution = lambda name: SimpleNamespace(version="0")
from zake.fake_client import FakeClient

real = kazoo.client.KazooClient


def in_memory(*arguments, **named):
    real(*arguments, **named)  # which connects to nothing before it is started
    return FakeClient()


kazoo.client.KazooClient = in_memory
runpy.run_path(sys.argv[1], run_name="__main__")
"""
"""Runs a program whose client of ZooKeeper keeps its nodes in memory, and still takes only what the real one takes."""


@contextmanager
def redis_server() -> Generator[int]:
    """Serve Redis, and give its port."""
    with TcpFakeServer(("127.0.0.1", 0), server_type="redis") as server, _served(server):
        yield server.server_address[1]


@contextmanager
def consul_server() -> Generator[tuple[int, list[str]]]:
    """Serve as much of Consul as a lock needs; give its port, and what is asked of it, in order."""
    asked: list[str] = []
    with _Consul(asked) as server, _served(server):
        yield server.server_port, asked


@contextmanager
def _served(server: TcpFakeServer | ThreadingHTTPServer) -> Generator[None]:
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


class _Consul(ThreadingHTTPServer):
    """Sessions without an end of their own, and one key for each lock."""

    def __init__(self, asked: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), _ConsulCall)
        self.asked = asked
        self.sessions: set[str] = set()
        self.holders: dict[str, str] = {}

    def answer(self, path: str, query: dict[str, list[str]]) -> object:
        """Carry out one call, and return what Consul says; None where it knows no such session."""
        if path == "/v1/session/create":
            session = f"session-{len(self.asked)}"
            self.sessions.add(session)
            return {"ID": session}
        if path.startswith("/v1/session/"):
            _, _, _, verb, session = path.split("/")
            if verb == "destroy":
                self.sessions.discard(session)
                return True
            return [{"ID": session}] if session in self.sessions else None
        if "release" in query:
            return self.holders.pop(path, None) == query["release"][0]
        (session,) = query["acquire"]
        return session in self.sessions and self.holders.setdefault(path, session) == session


class _ConsulCall(BaseHTTPRequestHandler):
    server: _Consul  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_PUT(self) -> None:
        """Answer, in JSON."""
        where = urlsplit(self.path)
        query = parse_qs(where.query)
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(" ".join([where.path.removeprefix("/v1/"), *query]))
        answer = self.server.answer(where.path, query)
        body = json.dumps(answer).encode()
        self.send_response(404 if answer is None else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: what was asked is in the list."""
