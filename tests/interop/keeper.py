"""A client that keeps a session alive: grpcio, with what protoc generates from ``sessions.proto``."""

import importlib
import queue
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from tests.interop.conftest import PROTO
from tests.interop.peer import WAIT_S, Peer, Published

FOLDER = PROTO / "atomix_election" / "v1"


@dataclass(frozen=True, slots=True)
class Generated:
    """The modules that protoc made of ``sessions.proto``."""

    messages: Any
    stubs: Any


def generate(directory: Path) -> Generated:
    """Run protoc. Once per process, as each file can be registered once.

    From the file's own folder: as ``atomix_election/v1`` its output would hide behind this package.
    """
    outputs = [f"-I{FOLDER}", f"--python_out={directory}", f"--grpc_python_out={directory}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *outputs, "sessions.proto"], check=True)
    sys.path.insert(0, str(directory))
    try:
        return Generated(importlib.import_module("sessions_pb2"), importlib.import_module("sessions_pb2_grpc"))
    finally:
        sys.path.remove(str(directory))


class Stream:
    """One keep-alive stream of a session."""

    def __init__(self, open_stream: Callable[..., Any], generated: Generated, metadata: Any) -> None:
        self._messages = generated.messages
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._number = 0
        self.sent_at = 0.0
        self.call = open_stream(iter(self._requests.get, None), metadata=metadata, timeout=WAIT_S)

    def send(self, *, renewal: int | None = None, **fields: Any) -> int:
        """Send a renewal, numbered by itself unless told otherwise."""
        self._number = self._number + 1 if renewal is None else renewal
        self.sent_at = time.monotonic()
        self._requests.put(self._messages.KeepAliveRequest(renewal=self._number, **fields))
        return self._number

    def renew(self, **fields: Any) -> Any:
        """Send a renewal and return its answer; those that name an earlier one are passed over."""
        number = self.send(**fields)
        return next(answer for answer in self.call if answer.renewal == number)

    def next(self) -> Any:
        """Return the next answer."""
        return next(self.call)

    def until(self, wanted: Callable[[Any], bool]) -> Any:
        """Return the first answer that is as wanted."""
        return next(answer for answer in self.call if wanted(answer))

    def stepped_down(self, number: int, election: str, candidate_id: str) -> Any:
        """Renew, and confirm that nothing is done under a leadership any more."""
        return self.renew(stepped_down=[self.leadership(number, election, candidate_id)])

    def leadership(self, number: int, election: str, candidate_id: str) -> Any:
        """Return the message of one."""
        return self._messages.Leadership(election=election, number=number, candidate_id=candidate_id)

    def finish(self) -> None:
        """End the requests, as a client that goes away in order."""
        self._requests.put(None)


class Keeper(Peer):
    """A peer whose session is kept alive by renewals."""

    def __init__(self, published: Published, generated: Generated, target: str, *args: str, **options: str) -> None:
        super().__init__(published, target, *args, **options)
        self._generated = generated
        self._sessions = generated.stubs.SessionsStub(self.channel)

    @property
    def session_metadata(self) -> Any:
        """What says whose session is meant."""
        return (("application-id", self.namespace), ("session-id", self.session))

    def stream(self, **metadata: str) -> Stream:
        """Open a stream; nothing is sent on it yet."""
        pairs = dict(self.session_metadata) | {name.replace("_", "-"): value for name, value in metadata.items()}
        return Stream(self._sessions.KeepAlive, self._generated, tuple(pairs.items()))

    def opened(self, ttl_ms: int = 0, **fields: Any) -> Stream:
        """Open the session and return its stream."""
        stream = self.stream()
        assert not stream.renew(open=True, ttl_ms=ttl_ms, **fields).ended
        return stream

    def end(self) -> None:
        """End the session."""
        self._sessions.End(self._generated.messages.EndRequest(), metadata=self.session_metadata, timeout=WAIT_S)

    def raw(self, *requests: bytes) -> Iterator[bytes]:
        """Send bytes as the messages of a stream that then ends."""
        method = self.channel.stream_stream("/atomix_election.v1.Sessions/KeepAlive")
        return method(iter(requests), metadata=self.session_metadata, timeout=WAIT_S)


def named(answer: Any) -> list[tuple[str, int, str]]:
    """Return the leaderships that an answer names."""
    return [(each.election, each.number, each.candidate_id) for each in answer.leaderships]


def taken(answer: Any) -> list[tuple[int, str, bool]]:
    """Return the leaderships that an answer says were taken away."""
    return [(each.leadership.number, each.leadership.candidate_id, each.evicted) for each in answer.revoked]


def refused(call: Any) -> grpc.RpcError:
    """Return the error that a stream ends with."""
    try:
        for _ in call:
            pass
    except grpc.RpcError as error:
        return error
    raise AssertionError("the stream ended well")
