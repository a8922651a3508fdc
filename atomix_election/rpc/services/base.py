"""What a service is to the server: a table of methods."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from atomix_election.broadcast import Subscription
from atomix_election.model import Term
from atomix_election.rpc.call import ServerCall, path_of
from atomix_election.rpc.http2_connection import Headers
from atomix_election.rpc.methods import Method
from atomix_election.rpc.status import unimplemented
from atomix_election.service import WATCH_BUFFER, Call, ImmediateKeepAlive, ImmediateService, Pending, Service


class ServedConnection(Service, ImmediateService, Protocol):
    """The service that a connection's calls go to."""

    @property
    def store_id(self) -> str:
        """Identity of the store."""
        ...

    def keep_alive(self, namespace: str, session: str) -> AbstractAsyncContextManager[ImmediateKeepAlive]:
        """See ``ElectionService.keep_alive``."""
        ...

    def events(self, call: Call, *, buffer: int = WATCH_BUFFER) -> AbstractAsyncContextManager[Subscription]:
        """See ``ElectionService.events``."""
        ...

    def hold_only(self, may: Callable[[str], bool]) -> None:
        """Keep sessions open in the namespaces for which that says so, and let go of those in others."""
        ...

    def disconnect(self, *, by_peer: bool) -> None:
        """Called once, when the connection is gone or its caller shut out, with whether the client closed it."""
        ...


@dataclass(frozen=True, slots=True)
class QuickAnswer:
    """How a call can be answered without waiting for anything but the outcome of its command.

    Args:
        begin: hands the command over, or reads the term, for a request's message; None where that has to wait.
        encode: makes the answer's message.
    """

    begin: Callable[[ServedConnection, Call, bytes], Pending | Term | None]
    encode: Callable[[Term], bytes]


@dataclass(frozen=True, slots=True)
class ServedMethod:
    """A method, and how it is served.

    Args:
        method: what it is on the wire.
        serve: reads the request and sends all messages of the answer, for the connection that the call came on.
        writes: a call whose answer did not come may have changed something.
        endless: it goes on until somebody ends it. A server that shuts down ends it at once; others are let finish.
        while_closing: it is served also on a server that shuts down.
        quick: how it can be answered at once; None where it cannot.
    """

    method: Method
    serve: Callable[[ServedConnection, ServerCall], Awaitable[None]]
    writes: bool = False
    endless: bool = False
    while_closing: bool = False
    quick: QuickAnswer | None = None


def by_path(*tables: Iterable[ServedMethod]) -> dict[str, ServedMethod]:
    """Return the methods of several services by what a request asks for."""
    return {each.method.path: each for table in tables for each in table}


def served_by(methods: Mapping[str, ServedMethod], headers: Headers) -> ServedMethod:
    """Return the method that a call asks for.

    Raises:
        Rejected: there is no such one, or it is no call of gRPC.
    """
    given = dict(headers)
    if given.get(":method") != "POST":
        raise unimplemented("a gRPC call is a POST request")
    if given.get("content-type", "").partition(";")[0] not in ("application/grpc", "application/grpc+proto"):
        raise unimplemented("the content-type must be application/grpc or application/grpc+proto")
    path = path_of(headers)
    served = methods.get(path)
    if served is None:
        raise unimplemented(f"there is no method {path!a}")
    return served
