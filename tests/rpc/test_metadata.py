"""What a call says of itself: the metadata table and the deadlines of the wire contract."""

import asyncio
import string

import pytest

from atomix_election.model import ElectionId
from atomix_election.stores.base import Record
from atomix_election.stores.memory import MemoryStore
from tests.rpc.conftest import Served
from tests.rpc.raw import Pairs, RawConnection, about, headers_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quiet")]

INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = 3, 4, 5
LONGEST = "x" * 256

MALFORMED = {
    "no metadata at all": [],
    "no primitive-id": [("application-id", "a"), ("session-id", "s")],
    "empty primitive-id": about(""),
    "primitive-id twice": [*about(), ("primitive-id", "raw")],
    "application-id twice": [*about(), ("application-id", "b")],
    "session-id twice, equal": [*about(session="s"), ("session-id", "s")],
    "over-long primitive-id": about(LONGEST + "x"),
    "over-long application-id": about(namespace=LONGEST + "x"),
    "over-long session-id": about(session=LONGEST + "x"),
    "tab": about("a\tb"),
    "delete": about("a\x7fb"),
    "nul": about("a\0b"),
    "line feed": about("a\nb"),
    "only white space": about(" "),
    "latin-1": [("primitive-id", b"caf\xe9"), ("session-id", "s")],
    "utf-8": [("primitive-id", "café".encode()), ("session-id", "s")],
    "utf-8 namespace": [*about()[:1], ("application-id", "café".encode()), ("session-id", "s")],
    "utf-8 session": [*about()[:2], ("session-id", "\N{SNOWMAN}".encode())],
    "not utf-8": [("primitive-id", b"\xff\xfe"), ("session-id", "s")],
    "operation is no number": [*about(session="s"), ("atomix-election-operation", "one")],
    "operation is negative": [*about(session="s"), ("atomix-election-operation", "-1")],
    "operation twice": [*about(session="s"), ("atomix-election-operation", "1"), ("atomix-election-operation", "2")],
}


@pytest.mark.parametrize("method", ["Create", "GetTerm", "Events"])
@pytest.mark.parametrize("metadata", MALFORMED.values(), ids=MALFORMED)
async def test_malformed_metadata_is_an_invalid_argument(served: Served, method: str, metadata: Pairs) -> None:
    """Whatever is called; the connection goes on."""
    async with RawConnection(served.port) as raw:
        answer = await raw.call(headers_of(method, *metadata))
        assert (answer.status, answer.error) == (INVALID_ARGUMENT, "InvalidRequest")
        assert answer.headers["grpc-message"]
        await served.check_serves(raw)


@pytest.mark.parametrize("method", ["Create", "Close", "Enter", "Withdraw"])
@pytest.mark.parametrize("metadata", [about(), about()[:2]], ids=["empty", "missing"])
async def test_a_missing_session_is_an_invalid_argument_where_one_is_needed(
    served: Served, method: str, metadata: Pairs
) -> None:
    """An empty value is as good as none."""
    answer = await served.honest.call(headers_of(method, *metadata))
    assert (answer.status, answer.error) == (INVALID_ARGUMENT, "InvalidRequest")


async def test_the_session_is_not_needed_to_look(served: Served) -> None:
    """GetTerm answers who has no session; the rest find no candidate, which is another error."""
    assert (await served.honest.call(headers_of("GetTerm", ("primitive-id", "raw")))).status == 0
    for method in ("Anoint", "Promote", "Evict"):
        answer = await served.honest.call(headers_of(method, ("primitive-id", "raw")), b"\0\0\0\0\3\n\1a")
        assert (answer.status, answer.error) == (INVALID_ARGUMENT, "NotACandidate")


async def test_the_longest_and_oddest_ids_are_good(served: Served) -> None:
    """256 bytes of any printable ASCII, and unknown metadata besides."""
    odd = string.punctuation + " " + string.ascii_letters
    for name in (LONGEST, odd):
        metadata = [*about(name, name, name), ("x-unknown", "1"), ("x-unknown", "2"), ("x-bin", "AAAA")]
        assert (await served.honest.call(headers_of("Create", *metadata), b"\0\0\0\0\2\n\0")).status == 0
        answer = await served.honest.call(headers_of("Enter", *metadata))
        assert answer.status == 0
        assert name.encode() in answer.data


async def test_an_empty_namespace_is_the_default_one(served: Served) -> None:
    """Missing, empty and "default" are one namespace; another one has other elections and other sessions."""
    call = served.honest.call
    assert (await call(headers_of("Create", *about("e", "s", "")), b"\0\0\0\0\2\n\0")).status == 0
    entered = await call(headers_of("Enter", *about("e", "s", "default")))
    assert entered.status == 0
    same = await call(headers_of("GetTerm", ("primitive-id", "e")))
    assert same.messages == entered.messages
    other = await call(headers_of("GetTerm", *about("e", "s", "other")))
    assert other.messages == [b"\n\4\x1a\2\x22\0"]
    assert (await call(headers_of("Enter", *about("e", "s", "other")))).status == NOT_FOUND


async def test_metadata_beyond_the_limit_of_headers_harms_only_its_connection(served: Served) -> None:
    """More than a connection takes: the call is refused or the connection ended, and others go on."""
    async with RawConnection(served.port) as raw:
        stream = raw.begin([*headers_of("GetTerm", *about()), ("x-big", "y" * 80_000)], end=True)
        answer = raw.answers[stream]
        try:
            await raw.until(lambda: answer.ended or answer.reset is not None)
        except AssertionError:
            assert raw.closed
        else:
            assert answer.status != 0
        await served.check_serves()


@pytest.mark.parametrize("value", ["1H", "1M", "10S", "9000m", "1999946u", "99999999n", "00000010S", ""])
async def test_a_deadline_comes_in_any_unit(served: Served, value: str) -> None:
    """Up to eight digits and a unit; a call that is quick enough is answered."""
    answer = await served.honest.call(headers_of("GetTerm", *about(), ("grpc-timeout", value)))
    assert answer.status == 0


@pytest.mark.parametrize("value", ["50m", "50000u", "50000000n"])
async def test_a_stream_ends_at_its_deadline(served: Served, value: str) -> None:
    """Events sends what it has, and DEADLINE_EXCEEDED when the time is over."""
    answer = await served.honest.call(headers_of("Events", *about(), ("grpc-timeout", value)))
    assert answer.status == DEADLINE_EXCEEDED
    assert len(answer.messages) == 1
    await served.until_idle()


@pytest.mark.parametrize("value", ["0S", "0m", "0n"])
async def test_no_time_at_all_is_a_deadline_that_has_passed(served: Served, value: str) -> None:
    """Not one that is not there."""
    answer = await served.honest.call(headers_of("Events", *about(), ("grpc-timeout", value)))
    assert answer.status == DEADLINE_EXCEEDED


@pytest.mark.parametrize(("method", "error"), [("GetTerm", "Unavailable"), ("Enter", "OutcomeUnknown")])
async def test_a_call_ends_at_its_deadline(
    served: Served, monkeypatch: pytest.MonkeyPatch, method: str, error: str
) -> None:
    """A write that ran out of time may have been done, and says so."""
    metadata = about(session="s")
    assert (await served.honest.call(headers_of("Create", *metadata), b"\0\0\0\0\2\n\0")).status == 0
    go_on = asyncio.Event()
    read = MemoryStore.read

    async def late(store: MemoryStore, election_id: ElectionId) -> Record:
        await go_on.wait()
        return await read(store, election_id)

    monkeypatch.setattr(MemoryStore, "read", late)
    monkeypatch.setattr(MemoryStore, "read_now", lambda *_: None)  # which would not have to wait
    answer = await served.honest.call(headers_of(method, *metadata, ("grpc-timeout", "50m")))
    assert (answer.status, answer.error) == (DEADLINE_EXCEEDED, error)
    go_on.set()
    await served.check_serves()


@pytest.mark.parametrize(
    "value",
    [
        "1",
        "S",
        "1s",
        "1D",
        "-1S",
        "+1S",
        "1.5S",
        "123456789S",
        " 1S",
        "1 S",
        "1SS",
        "0x1S",
        "\u00b2S",
        "\u0661S",
        "1S\n",
    ],
)
async def test_a_malformed_deadline_is_an_invalid_argument(served: Served, value: str) -> None:
    """Nothing but ASCII digits and one of six letters."""
    pair = ("grpc-timeout", value.encode())
    answer = await served.honest.call(headers_of("GetTerm", *about(), pair))
    assert (answer.status, answer.error) == (INVALID_ARGUMENT, "InvalidRequest")


async def test_a_deadline_twice_is_an_invalid_argument(served: Served) -> None:
    """Nobody knows which one is meant."""
    pairs = [("grpc-timeout", "1S"), ("grpc-timeout", "2S")]
    answer = await served.honest.call(headers_of("GetTerm", *about(), *pairs))
    assert answer.status == INVALID_ARGUMENT
