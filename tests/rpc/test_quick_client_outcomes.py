"""A call comes to the same, whether it was made with a future or the plain way: whatever the server answers."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomix_election.errors import ElectionError
from atomix_election.model import Term
from atomix_election.rpc.client import RpcClient
from atomix_election.rpc.client_connection import Endpoint
from tests.rpc.attempts import CALL, TIMEOUT_S
from tests.rpc.fake import OK, RESPONSE, Speaker, answering, listening
from tests.rpc.raw import WAIT_S, message
from tests.rpc.test_client_answers import ANSWERS, TERM

Answer = Callable[[Speaker, int], None]
Outcome = Term | tuple[type[ElectionError], str]

GARBAGE = b"\xff\xff\xff\xff"
REFUSAL = [("grpc-status", "5"), ("grpc-message", "it is over"), ("atomix-election-error", "SessionEnded")]
NO_STATUS = [("x-other", "1")]


async def read(client: RpcClient) -> Term:
    """Ask for the term."""
    return await client.get_term(CALL)


async def write(client: RpcClient) -> Term:
    """Enter, so that a lost answer is an unknown outcome."""
    return await client.enter(CALL, "a")


async def outcome(
    endpoint: Endpoint, attempt: Callable[[RpcClient], Awaitable[Term]], *, quick: bool, timeout_s: float
) -> Outcome:
    """Return what becomes of an attempt, and check that nothing is left of it."""
    begun: list[bool] = []
    async with RpcClient([endpoint], call_timeout_s=timeout_s, chance=lambda: 0.0) as client:
        connection: Any = client._connection
        protocol, begin = await connection.get(), connection.begin

        def begin_or_not(*args: Any) -> object:
            call = begin(*args) if quick else None
            begun.append(call is not None)
            return call

        connection.begin = begin_or_not
        result: Outcome
        try:
            result = await attempt(client)
        except ElectionError as error:
            result = type(error), str(error)
        assert begun == [quick]
        assert not len(protocol.quick)
        assert not protocol.processor.streams
        if not protocol.connection.is_closing():
            assert not protocol._h2.open_outbound_streams
            window = protocol._h2._inbound_flow_control_window_manager
            taken = window.max_window_size - window.current_window_size
            assert taken == window._bytes_processed + protocol.quick._unacknowledged_bytes
    return result


async def check(answer: Answer, timeout_s: float) -> list[Outcome]:
    """Fail unless both ways come to the same; return what they come to."""
    found: list[Outcome] = []
    async with listening(answering(answer)) as endpoint:
        for attempt in (read, write):
            with anyio.fail_after(WAIT_S):
                quick = await outcome(endpoint, attempt, quick=True, timeout_s=timeout_s)
                plain = await outcome(endpoint, attempt, quick=False, timeout_s=timeout_s)
            assert quick == plain
            found.append(quick)
    return found


def well(speaker: Speaker, stream: int) -> None:
    """Answer as our server does."""
    speaker.h2.send_headers(stream, RESPONSE)
    speaker.h2.send_data(stream, message(TERM))
    speaker.h2.send_headers(stream, OK, end_stream=True)


def well_with_more_headers(speaker: Speaker, stream: int) -> None:
    """Answer as a server of another make does, behind a proxy."""
    speaker.h2.send_headers(stream, [*RESPONSE, ("date", "today"), ("grpc-encoding", "identity")])
    speaker.h2.send_data(stream, message(TERM))
    speaker.h2.send_headers(stream, [*OK, ("grpc-message", ""), ("x-took", "3")], end_stream=True)


def well_in_pieces(speaker: Speaker, stream: int) -> None:
    """Answer with a message in two frames and some empty ones."""
    speaker.h2.send_headers(stream, RESPONSE)
    for piece in (b"", message(TERM)[:7], b"", message(TERM)[7:], b""):
        speaker.h2.send_data(stream, piece)
    speaker.h2.send_headers(stream, OK, end_stream=True)


def well_after_a_notice(speaker: Speaker, stream: int) -> None:
    """Say first that it may take a while."""
    speaker.send_bytes(b"\0\0\5\1\4" + stream.to_bytes(4, "big") + b"\x08\x03103")
    well(speaker, stream)


def well_and_good_bye(speaker: Speaker, stream: int) -> None:
    """Answer, and end the connection with the same bytes."""
    well(speaker, stream)
    speaker.h2.close_connection()


def refusal(speaker: Speaker, stream: int) -> None:
    """Refuse with nothing but headers."""
    speaker.h2.send_headers(stream, [*RESPONSE, *REFUSAL], end_stream=True)


def refusal_in_trailers(speaker: Speaker, stream: int) -> None:
    """Refuse after headers."""
    speaker.h2.send_headers(stream, RESPONSE)
    speaker.h2.send_headers(stream, REFUSAL, end_stream=True)


def refusal_after_the_message(speaker: Speaker, stream: int) -> None:
    """Take back what was said."""
    speaker.h2.send_headers(stream, RESPONSE)
    speaker.h2.send_data(stream, message(TERM))
    speaker.h2.send_headers(stream, REFUSAL, end_stream=True)


def refusal_that_goes_on(speaker: Speaker, stream: int) -> None:
    """Refuse, and leave the stream open."""
    speaker.h2.send_headers(stream, [*RESPONSE, *REFUSAL])


def two_messages(speaker: Speaker, stream: int) -> None:
    """Send one too many, with a good status."""
    speaker.h2.send_headers(stream, RESPONSE)
    speaker.h2.send_data(stream, message(TERM))
    speaker.h2.send_data(stream, message(TERM))
    speaker.h2.send_headers(stream, OK, end_stream=True)


def compressed(speaker: Speaker, stream: int) -> None:
    """Send what nobody asked for."""
    speaker.h2.send_headers(stream, RESPONSE)
    speaker.h2.send_data(stream, message(TERM, compressed=1))
    speaker.h2.send_headers(stream, OK, end_stream=True)


def cut_short(speaker: Speaker, stream: int) -> None:
    """End inside the message, with a good status."""
    speaker.h2.send_headers(stream, RESPONSE)
    speaker.h2.send_data(stream, message(TERM)[:-1])
    speaker.h2.send_headers(stream, OK, end_stream=True)


def of_another_make(speaker: Speaker, stream: int) -> None:
    """Send a term without the timestamp."""
    speaker.h2.send_headers(stream, RESPONSE)
    speaker.h2.send_data(stream, message(b"\n\x06\n\1a\x12\1a"))
    speaker.h2.send_headers(stream, OK, end_stream=True)


def reset_after_the_message(speaker: Speaker, stream: int) -> None:
    """Say it, and then break off."""
    speaker.h2.send_headers(stream, RESPONSE)
    speaker.h2.send_data(stream, message(TERM))
    speaker.h2.reset_stream(stream, 2)


def good_bye(speaker: Speaker, _: int) -> None:
    """End the connection without an answer."""
    speaker.h2.close_connection()


def broken(speaker: Speaker, stream: int) -> None:
    """Break HTTP/2: data before headers."""
    speaker.send_bytes(b"\0\0\1\0\0" + stream.to_bytes(4, "big") + b"x")


MORE = [
    well,
    well_with_more_headers,
    well_in_pieces,
    well_after_a_notice,
    well_and_good_bye,
    refusal,
    refusal_in_trailers,
    refusal_after_the_message,
    refusal_that_goes_on,
    two_messages,
    compressed,
    cut_short,
    of_another_make,
    reset_after_the_message,
    good_bye,
    broken,
]


@pytest.mark.anyio
@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("answer", [*ANSWERS, *MORE], ids=lambda each: each.__name__)
async def test_both_ways_come_to_the_same(answer: Answer) -> None:
    """For each kind of answer that we can think of."""
    found = await check(answer, WAIT_S)
    if answer.__name__.startswith("well"):
        assert [type(each) for each in found] == [Term, Term]
    else:
        assert all(isinstance(each, tuple) for each in found)


def nothing(_: Speaker, __: int) -> None:
    """Let the client wait."""


def half(speaker: Speaker, stream: int) -> None:
    """Let it wait for the rest."""
    speaker.h2.send_headers(stream, RESPONSE)
    speaker.h2.send_data(stream, message(TERM))


@pytest.mark.anyio
@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("answer", [nothing, half])
async def test_both_ways_give_up_in_time(answer: Answer) -> None:
    """And say the same."""
    for found in await check(answer, TIMEOUT_S):
        assert isinstance(found, tuple)
        assert f"no answer within {TIMEOUT_S:g} s" in found[1]


HEADS = [
    RESPONSE,
    [*RESPONSE, ("x-more", "1")],
    [*RESPONSE, *OK],
    [*RESPONSE, *REFUSAL],
    [(":status", "502"), ("content-type", "text/html")],
    [(":status", "200")],
]
PIECES = [
    message(TERM),
    message(TERM)[:3],
    message(TERM)[3:],
    message(GARBAGE),
    message(b""),
    message(TERM, compressed=1),
    b"",
    b"x",
    message(b"x", size=(1 << 32) - 1),
]
TAILS = [OK, [*OK, ("x-more", "1")], REFUSAL, NO_STATUS, [("grpc-status", "ninety")], [("grpc-status", "14")]]


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """Make an answer of some headers, some data, and an end."""
    head = draw(st.sampled_from(HEADS))
    pieces = draw(st.lists(st.sampled_from(PIECES), max_size=3))
    end = draw(st.sampled_from(["trailers", "data", "reset", "good bye"]))
    tail = draw(st.sampled_from(TAILS))

    def answer(speaker: Speaker, stream: int) -> None:
        speaker.h2.send_headers(stream, head)
        for piece in pieces:
            speaker.h2.send_data(stream, piece)
        if end == "trailers":
            speaker.h2.send_headers(stream, tail, end_stream=True)
        elif end == "data":
            speaker.h2.send_data(stream, b"", end_stream=True)
        elif end == "reset":
            speaker.h2.reset_stream(stream, 7)
        else:
            speaker.h2.close_connection()

    return answer


@given(answers())
@settings(max_examples=150, deadline=None)
def test_both_ways_come_to_the_same_whatever_is_said(answer: Answer) -> None:
    """Also for what nobody thought of."""
    anyio.run(check, answer, WAIT_S)
