"""Renewals that are answered at once: in the order of all, and as those that a task takes."""

import logging
from itertools import pairwise
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from atomix_election.core.campaign import Answer
from atomix_election.engine.keepalive import EngineKeepAlive
from atomix_election.rpc import wire
from atomix_election.rpc._generated.atomix_election import v1
from atomix_election.rpc.services import sessions
from atomix_election.service import Call, Renewal
from tests.rpc.raw import about, eventually, headers_of, message
from tests.rpc.ways import AT_ONCE, WAYS, Serving, Transcribing, serving, tokens

pytestmark = pytest.mark.anyio

KEEP_ALIVE = headers_of("/atomix_election.v1.Sessions/KeepAlive", ("session-id", "s"))


@pytest.fixture
def anyio_backend() -> str:
    """gRPC needs asyncio."""
    return "asyncio"


def renewal(number: int, *, stepped_down: int | None = None, release: bool = False) -> bytes:
    """Return a renewal; the first one may open the session."""
    down = [] if stepped_down is None else [v1.Leadership(election="e", number=stepped_down)]
    return message(
        wire.encode(
            v1.KeepAliveRequest(
                renewal=number, open=number == 1, ttl_ms=60_000, stepped_down=down, release_on_disconnect=release
            )
        )
    )


def answers(raw: Transcribing, stream: int) -> list[v1.KeepAliveResponse]:
    """Return the answers that have come."""
    return [wire.decode(each, v1.KeepAliveResponse) for each in raw.answers[stream].messages]


async def renew(raw: Transcribing, stream: int, number: int, **options: Any) -> v1.KeepAliveResponse:
    """Send a renewal, and return the answer to it."""
    raw.send(stream, renewal(number, **options))
    await raw.until(lambda: any(each.renewal == number for each in answers(raw, stream)))
    return answers(raw, stream)[-1]


class Order:
    """Which renewals have got to the engine, one after the other."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.numbers: list[int] = []
        self.at_once = 0
        send, renew_now = EngineKeepAlive.send, EngineKeepAlive.renew_now

        async def sent(stream: EngineKeepAlive, each: Renewal) -> None:
            self.numbers.append(each.renewal)
            await send(stream, each)

        def renewed(stream: EngineKeepAlive, each: Renewal) -> Answer | None:
            answer = renew_now(stream, each)
            if answer is not None:
                self.numbers.append(each.renewal)
                self.at_once += 1
            return answer

        patch.setattr(EngineKeepAlive, "send", sent)
        patch.setattr(EngineKeepAlive, "renew_now", renewed)


async def _stream(pieces: list[list[bytes]], window: int) -> list[int]:
    """Send pieces, each a frame, those of a list together; return the numbers that were answered."""
    async with serving(AT_ONCE) as server, Transcribing(server.port) as raw:
        raw.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        stream = raw.begin(KEEP_ALIVE)
        for together in pieces:
            with raw.together():
                for piece in together:
                    raw.send(stream, piece)
            await raw.heard()
        raw.h2.increment_flow_control_window(1 << 20, stream_id=stream)
        raw.send(stream, renewal(1000))
        await raw.until(lambda: bool(answers(raw, stream)) and answers(raw, stream)[-1].renewal == 1000)
        assert not any(each.ended for each in answers(raw, stream))
        return [each.renewal for each in answers(raw, stream)]


@settings(deadline=None, print_blob=True, max_examples=40)
@given(
    confirming=st.lists(st.booleans(), min_size=1, max_size=12),
    cuts=st.sets(st.integers(0, 11 * 12), max_size=8),
    whole=st.booleans(),
    breaks=st.sets(st.integers(0, 20), max_size=10),
    window=st.sampled_from([65535, 65535, 0, 60]),
)
def test_renewals_get_to_the_engine_in_order(
    confirming: list[bool], cuts: set[int], whole: bool, breaks: set[int], window: int
) -> None:
    """And each once: whole ones, those in pieces, several in one piece, and those that a task has to take."""
    made = [renewal(number, stepped_down=7 if each else None) for number, each in enumerate(confirming, start=1)]
    places = {sum(map(len, made[:number])) for number in range(len(made) + 1)} if whole else set[int]()
    data = b"".join(made)
    ends = sorted({0, len(data)} | places | {each for each in cuts if each < len(data)})
    frames = [data[start:end] for start, end in pairwise(ends)]
    pieces: list[list[bytes]] = [[]]
    for place, each in enumerate(frames):
        pieces[-1].append(each)
        if place in breaks:
            pieces.append([])
    with pytest.MonkeyPatch.context() as patch:
        order = Order(patch)
        answered = anyio.run(_stream, pieces, window)
    assert order.numbers == [*range(1, len(made) + 1), 1000]
    assert answered == sorted(answered)


async def test_only_the_first_and_what_has_more_to_do_takes_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that comes whole is answered at once, also after one that did not."""
    order = Order(monkeypatch)
    async with serving(AT_ONCE) as server, Transcribing(server.port) as raw:
        stream = raw.begin(KEEP_ALIVE)
        for number, expected in ((1, 0), (2, 1), (3, 2)):
            await renew(raw, stream, number)
            assert order.at_once == expected
        await renew(raw, stream, 4, stepped_down=7)
        assert order.at_once == 2
        whole = renewal(5)
        raw.send(stream, whole[:3])
        await raw.heard()
        raw.send(stream, whole[3:])
        await raw.until(lambda: answers(raw, stream)[-1].renewal == 5)
        assert order.at_once == 2
        await renew(raw, stream, 6)
        assert order.at_once == 3
        assert server.seen.counts["renewed",] == 6


@pytest.mark.parametrize("way", WAYS)
async def test_a_renewal_is_good_for_one_more_time_to_live(way: str) -> None:
    """From when it came."""
    async with serving(way) as server, Transcribing(server.port) as raw:
        stream = raw.begin(KEEP_ALIVE)
        ends: list[float] = []
        for number in (1, 2, 3):
            await renew(raw, stream, number)
            session = server.engine.sessions.get("default", "s")
            ends.append(server.engine.sessions._leases.left_s(session.id, 0.0) or 0.0)
        assert ends == sorted(set(ends))
        assert session.ttl_s == 60.0


@pytest.mark.parametrize("way", WAYS)
async def test_a_session_that_has_ended_is_renewed_no_more(way: str) -> None:
    """The answer says so, and ends the stream."""
    async with serving(way) as server, Transcribing(server.port) as raw:
        stream = raw.begin(KEEP_ALIVE)
        for number in (1, 2):
            await renew(raw, stream, number)
        session = server.engine.sessions.get("default", "s")
        assert server.engine.sessions.end(session, "ended")
        _feed(server, stream, renewal(3))
        answer = await raw.ended(stream)
        assert answer.status == 0
        assert [each.ended for each in answers(raw, stream)] == [False, False, True]
        assert session.ended
        assert server.seen.counts["renewed",] == 2


def _feed(server: Serving, stream: int, data: bytes) -> None:
    """Have a frame of data come in at this very moment."""
    (connection,) = server.rpc._connections
    connection.protocol.data_received(DataFrame(stream, data=data).serialize())


@pytest.mark.parametrize("way", WAYS)
async def test_who_is_shut_out_is_answered_no_more(way: str) -> None:
    """Not even before its task has heard of it."""
    more = [("application-id", "mine"), ("authorization", "Bearer one")]
    async with serving(way, gate=tokens("one")) as server, Transcribing(server.port) as raw:
        stream = raw.begin([*KEEP_ALIVE, *more])
        for number in (1, 2):
            await renew(raw, stream, number)
        server.rpc.use_gate(tokens("two"))
        _feed(server, stream, renewal(3))
        assert (await raw.ended(stream)).status == 16
        assert [each.renewal for each in answers(raw, stream)] == [1, 2]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("released", [False, True])
async def test_the_newest_renewal_says_whether_the_session_is_released(way: str, released: bool) -> None:
    """Also one that was answered at once."""
    async with serving(way) as server, Transcribing(server.port) as raw:
        stream = raw.begin(KEEP_ALIVE)
        await renew(raw, stream, 1, release=not released)
        await renew(raw, stream, 2, release=released)
        session = server.engine.sessions.get("default", "s")
        raw.abort()
        await eventually(lambda: not server.rpc._connections)
        if released:
            await eventually(lambda: session.ended)
        else:
            await anyio.lowlevel.checkpoint()
            assert not session.ended


@pytest.mark.parametrize("way", WAYS)
async def test_who_steps_down_is_waited_for_no_longer(way: str) -> None:
    """The lead that is taken from one is granted to the next when it says so; both are told by their streams."""
    async with serving(way) as server, Transcribing(server.port) as raw:
        stream = raw.begin(KEEP_ALIVE)
        await renew(raw, stream, 1)
        await server.inside.enter(Call("e", session="s"), "a")
        assert [each.number for each in (await renew(raw, stream, 2)).leaderships] == [1]
        await server.inside.create(Call("e", session="t"))
        await server.inside.enter(Call("e", session="t"), "b")
        await server.inside.anoint(Call("e"), "b")
        answer = await renew(raw, stream, 3)
        assert not answer.leaderships
        assert [each.leadership.number for each in answer.revoked if each.leadership] == [1]
        await renew(raw, stream, 4, stepped_down=1)
        assert not server.engine.sessions.get("default", "s").revoked
        assert not (await renew(raw, stream, 5)).revoked
        assert server.engine.sessions.get("default", "t").leads


@pytest.mark.parametrize("way", WAYS)
async def test_a_renewal_that_is_wrong_ends_its_stream(way: str) -> None:
    """With what is wrong with it; what came before it was done."""
    async with serving(way) as server, Transcribing(server.port) as raw:
        for data, status in ((message(b"\xff"), 3), (message(b"", compressed=1), 12), (message(b"", size=1 << 20), 8)):
            stream = raw.begin(KEEP_ALIVE)
            await renew(raw, stream, 1)
            await renew(raw, stream, 2)
            raw.send(stream, data)
            assert (await raw.ended(stream)).status == status
        assert server.seen.counts["renewed",] == 6


@pytest.mark.parametrize("way", WAYS)
async def test_a_fault_is_that_of_one_stream(
    way: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the connection goes on."""
    translate = sessions.renewal_of_bytes

    def faulty(data: bytes) -> Renewal:
        asked = translate(data)
        if asked.renewal == 3:
            raise RuntimeError("a fault")
        return asked

    monkeypatch.setattr(sessions, "renewal_of_bytes", faulty)
    async with serving(way) as server, Transcribing(server.port) as raw:
        streams = [raw.begin(KEEP_ALIVE) for _ in range(2)]
        for stream in streams:
            for number in (1, 2):
                await renew(raw, stream, number)
        raw.send(streams[0], renewal(3))
        assert (await raw.ended(streams[0])).status == 13
        assert (await renew(raw, streams[1], 4)).renewal == 4
        assert (await raw.call(headers_of("GetTerm", *about("e")), message(b""))).status == 0
    (record,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert record.getMessage() == "fault of this package in /atomix_election.v1.Sessions/KeepAlive"


@pytest.mark.parametrize("way", WAYS)
async def test_a_session_that_leads_in_many_elections_is_told_once(way: str) -> None:
    """Of all that has changed in one turn of the event loop: each answer has all that the session leads."""
    elections = 12
    async with serving(way) as server, Transcribing(server.port) as raw:
        stream = raw.begin(KEEP_ALIVE)
        await renew(raw, stream, 1)
        with raw.together():
            asked = [
                raw.ask(headers_of("Enter", *about(f"e{number}", "s")), message(b"\x0a\x01a"))
                for number in range(elections)
            ]
        for each in asked:
            assert (await raw.ended(each)).status == 0
        await raw.until(lambda: len(answers(raw, stream)[-1].leaderships) == elections)
        assert len(answers(raw, stream)) <= 3
