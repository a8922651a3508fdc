"""Our service ``atomix_election.v1.Sessions``: sessions that their client keeps alive."""

from functools import partial

from atomix_election.errors import ElectionError
from atomix_election.rpc import wire
from atomix_election.rpc._generated.atomix_election import v1
from atomix_election.rpc.call import ServerCall, session_of
from atomix_election.rpc.convert import answer_message, renewal_of
from atomix_election.rpc.frames import frame
from atomix_election.rpc.methods import SESSION_METHODS
from atomix_election.rpc.services.base import ServedConnection, ServedMethod
from atomix_election.rpc.status import Rejected
from atomix_election.tasks import background_tasks


async def _keep_alive(service: ServedConnection, call: ServerCall) -> None:
    """Take renewals and send answers, until the client ends the stream or the session has ended."""
    fault: ElectionError | Rejected | None = None

    async def take_renewals() -> None:
        nonlocal fault
        try:
            while (message := await call.read_next(v1.KeepAliveRequest)) is not None:
                await stream.send(renewal_of(message))
        except (ElectionError, Rejected) as error:
            fault = error
        tasks.cancel_block()

    def renew_now(data: bytes) -> bool:
        answer = stream.renew_now(renewal_of(wire.decode(data, v1.KeepAliveRequest)))
        if answer is None:
            return False
        if not call.send_now(frame(wire.encode(answer_message(answer)))):
            stream.wake()  # as soon as the peer reads
        return True

    async with service.keep_alive(*session_of(call.headers)) as stream, background_tasks() as tasks:
        tasks.start_soon(take_renewals)
        with call.take_at_once(renew_now):
            ended = False
            while not ended:
                answer = await stream.receive()
                await call.send(partial(answer_message, answer))
                ended = answer.ended
    if fault is not None:
        raise fault


async def _end(service: ServedConnection, call: ServerCall) -> None:
    await call.read(v1.EndRequest)
    await service.end_session(*session_of(call.headers))
    await call.send(v1.EndResponse)


METHODS = (
    ServedMethod(SESSION_METHODS["KeepAlive"], _keep_alive, endless=True),
    ServedMethod(SESSION_METHODS["End"], _end, writes=True),
)
