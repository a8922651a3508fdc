"""The standard health service, ``grpc.health.v1.Health``: is the server, or one of its services, taking calls?"""

from collections.abc import Iterable
from functools import partial

import anyio
from grpclib.const import Status

from atomix_election.rpc._generated.grpc.health import v1
from atomix_election.rpc.call import ServerCall
from atomix_election.rpc.services.base import ServedConnection, ServedMethod
from atomix_election.rpc.standard_methods import HEALTH_METHODS
from atomix_election.rpc.status import Failure, Rejected, shutting_down

_OVERALL = ""
"""The name that stands for the server as a whole."""


class Health:
    """Whether a server serves: from its start until it is told that it shuts down.

    Args:
        services: full names of the services that it has.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._services = {_OVERALL, *services, HEALTH_METHODS["Check"].service}
        self._serving = False
        self._changed = anyio.Event()

    @property
    def methods(self) -> tuple[ServedMethod, ...]:
        """The service. All of it is there to the end: that the server goes is what it has to tell."""
        return (
            ServedMethod(HEALTH_METHODS["Check"], self._check, while_closing=True),
            ServedMethod(HEALTH_METHODS["List"], self._list, while_closing=True),
            ServedMethod(HEALTH_METHODS["Watch"], self._watch, while_closing=True),
        )

    def start(self) -> None:
        """The server serves, also again."""
        self._serving = True
        self._changed = anyio.Event()

    def shut_down(self) -> None:
        """Tell everybody that the server does not serve any more."""
        self._serving = False
        self._changed.set()

    def _status(self) -> v1.HealthCheckResponseServingStatus:
        statuses = v1.HealthCheckResponseServingStatus
        return statuses.SERVING if self._serving else statuses.NOT_SERVING

    def _response(self) -> v1.HealthCheckResponse:
        return v1.HealthCheckResponse(status=self._status())

    async def _check(self, _: ServedConnection, call: ServerCall) -> None:
        request = await call.read(v1.HealthCheckRequest)
        if request.service not in self._services:
            raise Rejected(Failure(Status.NOT_FOUND, f"there is no service {request.service!a} here"))
        await call.send(self._response)

    async def _list(self, _: ServedConnection, call: ServerCall) -> None:
        await call.read(v1.HealthListRequest)
        statuses = {service: self._response() for service in sorted(self._services)}
        await call.send(lambda: v1.HealthListResponse(statuses=statuses))

    async def _watch(self, _: ServedConnection, call: ServerCall) -> None:
        """Say how it is, and how it is then; it ends by itself when the server shuts down."""
        request = await call.read(v1.HealthCheckRequest)
        if request.service not in self._services:
            await call.send(partial(v1.HealthCheckResponse, status=v1.HealthCheckResponseServingStatus.SERVICE_UNKNOWN))
        elif self._serving:
            await call.send(self._response)
        await self._changed.wait()
        if request.service in self._services:
            await call.send(self._response)
        raise Rejected(shutting_down(may_have_been_applied=False))
