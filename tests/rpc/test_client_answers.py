"""Our client and answers that no server of ours would give."""

from collections.abc import Callable
from dataclasses import replace

import anyio
import pytest

from atomix_election import errors
from atomix_election.errors import ElectionError, OutcomeUnknown, SessionEnded, StoreError, Unavailable
from atomix_election.model import EventType
from atomix_election.rpc.client import RpcClient
from tests.rpc.attacks import END_HEADERS, HEADERS, http2_frame
from tests.rpc.attempts import CALL, TIMEOUT_S, outcomes
from tests.rpc.fake import OK, RESPONSE, Speaker, answering, listening
from tests.rpc.raw import message

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quiet")]

TERM = b"\n\x0e\n\1a\x12\1a\x1a\6\x22\4\x08\1\x10\1"
SNAPSHOT = b"\n\6\x12\4\x1a\2\x22\0"


def no_trailers(speaker: Speaker, stream: int) -> None:
    """End the stream with data."""
    speaker.h2.send_headers(stream, RESPONSE)
    speaker.h2.send_data(stream, message(TERM), end_stream=True)


def trailers_only(speaker: Speaker, stream: int) -> None:
    """Say that all is well, and nothing else."""
    speaker.h2.send_headers(stream, [*RESPONSE, *OK], end_stream=True)


def no_status(speaker: Speaker, stream: int) -> None:
    """End a good answer with trailers that do not say how the call went."""
    speaker.h2.send_headers(stream, RESPONSE)
    speaker.h2.send_data(stream, message(TERM))
    speaker.h2.send_headers(stream, [("x-other", "1")], end_stream=True)


def web_page(speaker: Speaker, stream: int) -> None:
    """Answer as a proxy that has no server behind it."""
    speaker.h2.send_headers(stream, [(":status", "502"), ("content-type", "text/html")])
    speaker.h2.send_data(stream, b"<html>", end_stream=True)


def garbage(speaker: Speaker, stream: int) -> None:
    """Send what is no message."""
    speaker.h2.send_headers(stream, RESPONSE)
    speaker.h2.send_data(stream, message(b"\xff\xff\xff\xff"))
    speaker.h2.send_headers(stream, OK, end_stream=True)


def too_large(speaker: Speaker, stream: int) -> None:
    """Announce 4 GiB."""
    speaker.h2.send_headers(stream, RESPONSE)
    speaker.h2.send_data(stream, message(b"x", size=(1 << 32) - 1))


def unknown_event(speaker: Speaker, stream: int) -> None:
    """Send an event of a type that does not exist; to a unary call it is a term without timestamp."""
    speaker.h2.send_headers(stream, RESPONSE)
    speaker.h2.send_data(stream, message(b"\n\x08\x08\x07\x12\x04\x1a\x02\x22\x00"))
    speaker.h2.send_headers(stream, OK, end_stream=True)


def odd_status(speaker: Speaker, stream: int) -> None:
    """Fail with a status, a message and a class that do not exist."""
    odd = [("grpc-status", "ninety"), ("grpc-message", "%zz%ff%"), ("atomix-election-error", "object")]
    speaker.h2.send_headers(stream, [*RESPONSE, *odd], end_stream=True)


def reset(speaker: Speaker, stream: int) -> None:
    """Refuse the stream."""
    speaker.h2.reset_stream(stream, 2)


def own_stream(speaker: Speaker, _: int) -> None:
    """Begin a stream, as only clients may."""
    speaker.send_bytes(http2_frame(HEADERS, END_HEADERS, 2, b"\x88"))


ANSWERS = [no_trailers, trailers_only, no_status, web_page, garbage, too_large, unknown_event, odd_status, reset]
ANSWERS += [own_stream]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda each: each.__name__)
async def test_an_answer_that_is_none_is_a_clear_error(answer: Callable[[Speaker, int], None]) -> None:
    """Of whatever kind, to a read, a write and a watch: never a hang, and never another exception."""
    async with listening(answering(answer)) as endpoint, RpcClient([endpoint], call_timeout_s=TIMEOUT_S) as client:
        read, write, watched = await outcomes(client)
        assert type(read) is Unavailable
        assert type(write) in (OutcomeUnknown, Unavailable)
        assert type(watched) is Unavailable


def store_error(speaker: Speaker, stream: int) -> None:
    """Refuse, as the store has failed."""
    why = [("grpc-status", "14"), ("atomix-election-error", "StoreError")]
    speaker.h2.send_headers(stream, [*RESPONSE, *why], end_stream=True)


async def test_a_store_that_fails_at_the_second_try_does_not_hide_the_first_one() -> None:
    """Which may have been carried out; a store that fails at the first try has done nothing."""
    answers = [store_error, reset, store_error]

    def answer(speaker: Speaker, stream: int) -> None:
        answers.pop(0)(speaker, stream)

    numbered = [replace(CALL, session="s", operation=number) for number in (1, 2)]
    async with listening(answering(answer)) as endpoint, RpcClient([endpoint], call_timeout_s=TIMEOUT_S) as client:
        with pytest.raises(StoreError):
            await client.enter(numbered[0], "a")
        with pytest.raises(OutcomeUnknown, match="an earlier try may have been applied"):
            await client.enter(numbered[1], "a")


@pytest.mark.parametrize(
    ("status", "name"),
    [("8", "LimitExceeded"), ("16", "Unauthenticated"), ("7", "PermissionDenied"), ("7", "NotSessionOwner")],
)
async def test_a_refusal_of_the_second_try_says_nothing_of_the_first_one(status: str, name: str) -> None:
    """Which may have been carried out; the same refusal of a first try is told as it is."""

    def refused(speaker: Speaker, stream: int) -> None:
        speaker.h2.send_headers(
            stream, [*RESPONSE, ("grpc-status", status), ("atomix-election-error", name)], end_stream=True
        )

    answers = [refused, reset, refused]

    def answer(speaker: Speaker, stream: int) -> None:
        answers.pop(0)(speaker, stream)

    numbered = [replace(CALL, session="s", operation=number) for number in (1, 2)]
    async with listening(answering(answer)) as endpoint, RpcClient([endpoint], call_timeout_s=TIMEOUT_S) as client:
        with pytest.raises(getattr(errors, name)):
            await client.promote(numbered[0], "a")
        with pytest.raises(OutcomeUnknown, match="an earlier try may have been applied"):
            await client.promote(numbered[1], "a")


async def test_the_end_of_a_session_says_whether_the_call_was_tried_before() -> None:
    """As that try may have been carried out while the session was open."""

    def ended(speaker: Speaker, stream: int) -> None:
        why = [("grpc-status", "5"), ("atomix-election-error", "SessionEnded")]
        speaker.h2.send_headers(stream, [*RESPONSE, *why], end_stream=True)

    answers = [ended, reset, ended]

    def answer(speaker: Speaker, stream: int) -> None:
        answers.pop(0)(speaker, stream)

    async with listening(answering(answer)) as endpoint, RpcClient([endpoint], call_timeout_s=TIMEOUT_S) as client:
        for number, tried_before in ((1, False), (2, True)):
            with pytest.raises(SessionEnded) as found:
                await client.promote(replace(CALL, session="s", operation=number), "a")
            assert found.value.tried_before is tried_before


def well(speaker: Speaker, stream: int) -> None:
    """End the stream as if there were nothing more to see."""
    speaker.h2.send_headers(stream, OK, end_stream=True)


def without_trailers(speaker: Speaker, stream: int) -> None:
    """End the stream as no server may."""
    speaker.h2.send_data(stream, b"", end_stream=True)


def unavailable(speaker: Speaker, stream: int) -> None:
    """End the stream as a server that shuts down."""
    speaker.h2.send_headers(stream, [("grpc-status", "14")], end_stream=True)


def good_bye(speaker: Speaker, _: int) -> None:
    """End the connection."""
    speaker.h2.close_connection()


@pytest.mark.parametrize("end", [well, without_trailers, unavailable, good_bye, reset], ids=lambda each: each.__name__)
async def test_a_watch_goes_on_after_its_stream_has_ended(end: Callable[[Speaker, int], None]) -> None:
    """However it ended: the client asks again, and what is new in the snapshot is a change."""
    streams: list[int] = []

    def answer(speaker: Speaker, stream: int) -> None:
        streams.append(stream)
        speaker.h2.send_headers(stream, RESPONSE)
        if len(streams) == 1:
            speaker.h2.send_data(stream, message(SNAPSHOT))
            end(speaker, stream)
        else:
            speaker.h2.send_data(stream, message(b"\n\x10\x12\x0e" + TERM[2:]))

    async with listening(answering(answer)) as endpoint, RpcClient([endpoint]) as client:
        with anyio.fail_after(2.0):
            async with client.events(CALL) as events:
                assert (await anext(events)).type is EventType.NONE
                event = await anext(events)
        assert (event.type, event.term.leader) == (EventType.CHANGED, "a")


async def test_an_answer_that_comes_with_the_good_bye_counts() -> None:
    """A server that closes answers first; both may be in one packet."""

    def answer(speaker: Speaker, stream: int) -> None:
        speaker.h2.send_headers(stream, RESPONSE)
        speaker.h2.send_data(stream, message(TERM))
        speaker.h2.send_headers(stream, OK, end_stream=True)
        speaker.h2.close_connection()

    async with listening(answering(answer)) as endpoint, RpcClient([endpoint]) as client:
        assert (await client.enter(CALL, "a")).leader == "a"


async def test_a_refusal_that_comes_with_a_reset_counts() -> None:
    """A server that will not read the rest of a request says why, and resets the stream."""

    def answer(speaker: Speaker, stream: int) -> None:
        refusal = [("grpc-status", "8"), ("atomix-election-error", "LimitExceeded")]
        speaker.h2.send_headers(stream, [*RESPONSE, *refusal])
        speaker.h2.reset_stream(stream, 0)

    async with listening(answering(answer)) as endpoint, RpcClient([endpoint]) as client:
        with pytest.raises(ElectionError) as raised:
            await client.enter(CALL, "a")
        assert type(raised.value).__name__ == "LimitExceeded"


async def test_a_server_that_says_that_time_is_over_is_left_for_another() -> None:
    """One that is cut off from its store says so, maybe before the client notices by itself; the other one can."""

    def late(speaker: Speaker, stream: int) -> None:
        speaker.h2.send_headers(stream, [*RESPONSE, ("grpc-status", "4")], end_stream=True)

    def able(speaker: Speaker, stream: int) -> None:
        speaker.h2.send_headers(stream, RESPONSE)
        speaker.h2.send_data(stream, message(TERM))
        speaker.h2.send_headers(stream, OK, end_stream=True)

    async with (
        listening(answering(late)) as cut_off,
        listening(answering(able)) as other,
        RpcClient([cut_off, other]) as client,
    ):
        assert (await client.get_term(CALL)).leader == "a"


async def test_a_late_answer_harms_nobody() -> None:
    """The first call ran out of time, the second one is under way when the answer to the first one comes."""
    streams: list[int] = []

    def answer(speaker: Speaker, stream: int) -> None:
        streams.append(stream)
        if len(streams) == 1:
            return
        # By hand, as h2 knows already that the client has reset the stream: HEADERS that say ":status: 200".
        speaker.send_bytes(b"\0\0\1\1\4" + streams[0].to_bytes(4, "big") + b"\x88")
        speaker.h2.send_headers(stream, RESPONSE)
        speaker.h2.send_data(stream, message(TERM))
        speaker.h2.send_headers(stream, OK, end_stream=True)

    async with listening(answering(answer)) as endpoint, RpcClient([endpoint], call_timeout_s=TIMEOUT_S) as client:
        with pytest.raises(Unavailable, match="no answer"):
            await client.get_term(CALL)
        assert (await client.get_term(CALL)).leader == "a"


async def test_a_refused_watch_says_why_at_once() -> None:
    """A refusal comes in the first headers, and nothing after it."""

    def answer(speaker: Speaker, stream: int) -> None:
        refusal = [("grpc-status", "8"), ("grpc-message", "no more"), ("atomix-election-error", "LimitExceeded")]
        speaker.h2.send_headers(stream, [*RESPONSE, *refusal], end_stream=True)

    async with listening(answering(answer)) as endpoint, RpcClient([endpoint]) as client:
        with anyio.fail_after(2.0), pytest.raises(ElectionError, match="no more"):
            async with client.events(CALL):
                pytest.fail("was not refused")
