"""Our service ``atomix_election.v1.Inspection``: which elections there are, and who stands in one."""

from functools import partial

from atomix_election.rpc._generated.atomix_election import v1
from atomix_election.rpc.call import ServerCall, call_of, namespace_of
from atomix_election.rpc.inspection import description_message, page_message
from atomix_election.rpc.methods import INSPECTION_METHODS
from atomix_election.rpc.services.base import ServedConnection, ServedMethod
from atomix_election.service import PAGE_SIZE


async def _list(service: ServedConnection, call: ServerCall) -> None:
    namespace = namespace_of(call.headers)
    request = await call.read(v1.ListRequest)
    size = request.page_size or PAGE_SIZE
    page = await service.list_elections(namespace, page_size=size, page_token=request.page_token)
    await call.send(partial(page_message, page))


async def _describe(service: ServedConnection, call: ServerCall) -> None:
    about = call_of(call.headers)
    await call.read(v1.DescribeRequest)
    await call.send(partial(description_message, await service.describe(about)))


METHODS = (
    ServedMethod(INSPECTION_METHODS["List"], _list),
    ServedMethod(INSPECTION_METHODS["Describe"], _describe),
)
