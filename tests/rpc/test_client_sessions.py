"""The session of a whole client, and answers to its renewals that no server of ours would give."""

import anyio
import pytest

from atomix_election import InvalidRequest, connect
from tests.rpc.fake import RESPONSE, Script, Speaker, answering, listening
from tests.rpc.raw import eventually, message

pytestmark = pytest.mark.anyio

OURS = [*RESPONSE, ("atomix-election-protocol", "1")]
TTL_S = 0.5
SOON_S = 5.0


def giving(answer: bytes) -> Script:
    """Return a script that gives each stream that begins one answer."""

    def say(speaker: Speaker, stream: int) -> None:
        speaker.h2.send_headers(stream, OURS)
        speaker.h2.send_data(stream, message(answer))

    return answering(say, begun=True)


@pytest.mark.parametrize(("answer", "number"), [(b"\x08\x63\x18\xf4\x03", 99), (b"", 0)], ids=["another", "nothing"])
async def test_an_answer_to_what_was_not_sent_opens_no_session(
    answer: bytes, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The client says what was wrong and tries again; whoever waits for the session waits on."""
    async with (
        listening(giving(answer)) as endpoint,
        connect(f"grpc://{endpoint}", session_ttl=TTL_S) as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(client.election("e").enter)
        why = f"trying again: the server answered renewal {number}, which was not sent"
        await eventually(lambda: why in caplog.text)
        tasks.cancel_scope.cancel()


async def test_a_session_without_a_time_to_live_is_none() -> None:
    """Whoever waits for it is told."""
    async with listening(giving(b"\x08\x01")) as endpoint, connect(f"grpc://{endpoint}", session_ttl=TTL_S) as client:
        with anyio.fail_after(SOON_S), pytest.raises(InvalidRequest, match=r"the time-to-live is 0\.0 s"):
            await client.election("e").enter()
