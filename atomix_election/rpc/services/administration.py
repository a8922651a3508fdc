"""Our service ``atomix_election.v1.Administration``: what operators do beyond the published service."""

from atomix_election.rpc._generated.atomix_election import v1
from atomix_election.rpc.call import ServerCall, call_of
from atomix_election.rpc.methods import ADMINISTRATION_METHODS
from atomix_election.rpc.services.base import ServedConnection, ServedMethod


async def _forget(service: ServedConnection, call: ServerCall) -> None:
    about = call_of(call.headers)
    await call.read(v1.ForgetRequest)
    term = await service.forget(about)
    await call.send(lambda: v1.ForgetResponse(number=term.number, revision=term.revision))


METHODS = (ServedMethod(ADMINISTRATION_METHODS["Forget"], _forget, writes=True),)
