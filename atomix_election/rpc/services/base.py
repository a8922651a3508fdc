"""What a service is to the server: a table of methods."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from atomix_election.rpc.call import ServerCall
from atomix_election.rpc.methods import Method
from atomix_election.service import Service


class ServedConnection(Service, Protocol):
    """The service that a connection's calls go to."""

    @property
    def store_id(self) -> str:
        """Identity of the store."""
        ...

    def hold_only(self, may: Callable[[str], bool]) -> None:
        """Keep sessions open in the namespaces for which that says so, and let go of those in others."""
        ...

    def disconnect(self, *, by_peer: bool) -> None:
        """Called once, when the connection is gone or its caller shut out, with whether the client closed it."""
        ...


@dataclass(frozen=True, slots=True)
class ServedMethod:
    """A method, and how it is served.

    Args:
        method: what it is on the wire.
        serve: reads the request and sends all messages of the answer, for the connection that the call came on.
        writes: a call whose answer did not come may have changed something.
        endless: it goes on until somebody ends it. A server that shuts down ends it at once; others are let finish.
        while_closing: it is served also on a server that shuts down.
    """

    method: Method
    serve: Callable[[ServedConnection, ServerCall], Awaitable[None]]
    writes: bool = False
    endless: bool = False
    while_closing: bool = False


def by_path(*tables: Iterable[ServedMethod]) -> dict[str, ServedMethod]:
    """Return the methods of several services by what a request asks for."""
    return {each.method.path: each for table in tables for each in table}
