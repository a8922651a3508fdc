"""Who calls on one connection: each has a service of its own there, for as long as its credentials are good."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from atomix_election.rpc.gate import Caller, Gate
from atomix_election.rpc.http2_connection import Headers
from atomix_election.rpc.services.base import ServedConnection, ServedMethod


class Connect(Protocol):
    """Makes services."""

    def __call__(self, *, owner: str = "", peer: str = "") -> ServedConnection:
        """Return the service that a principal's calls on one connection go to.

        Args:
            owner: name of the principal; "" where none was asked for.
            peer: the address at the other end, for people.
        """
        ...


class Callers:
    """Lets calls in, and keeps a service for each of those who make them.

    There is one for each credentials, and not only for each principal: a connection that a proxy shares out may carry
    the calls of a token that was taken back beside those of one that is good.

    Args:
        gate: returns what is asked of them at this moment.
        connect: makes the services.
    """

    def __init__(self, gate: Callable[[], Gate], connect: Connect) -> None:
        self._gate = gate
        self._connect = connect
        self._services: dict[Caller, ServedConnection] = {}
        self._certificate: Mapping[str, Any] = {}
        self._peer = ""

    def made(self, certificate: Mapping[str, Any], peer: str) -> None:
        """The connection is there.

        Args:
            certificate: that of the client, verified; empty where there is none.
            peer: the address at the other end, for people.
        """
        self._certificate = certificate
        self._peer = peer

    @property
    def gate(self) -> Gate:
        """What is asked of callers at this moment: another one after each change."""
        return self._gate()

    def admit(self, served: ServedMethod, headers: Headers) -> Caller:
        """Return who makes a call with such headers. See ``Gate.admit``."""
        return self._gate().admit(served.method, headers, self._certificate)

    def service_of(self, caller: Caller) -> ServedConnection:
        """Return what the calls of a caller that was let in go to."""
        service = self._services.get(caller)
        if service is None:
            service = self._services[caller] = self._connect(owner=caller.principal.name, peer=self._peer)
            service.hold_only(caller.principal.may_have_session)
        return service

    def check(self) -> None:
        """Put all to the gate again. Who is not let in any more is as one whose connection is lost."""
        for caller, service in list(self._services.items()):
            principal = self._gate().check(caller)
            if principal is None:
                del self._services[caller]
                service.disconnect(by_peer=False)
            else:
                service.hold_only(principal.may_have_session)

    def disconnect(self, *, by_peer: bool) -> None:
        """The connection is gone, and whether the client closed it."""
        for service in self._services.values():
            service.disconnect(by_peer=by_peer)
