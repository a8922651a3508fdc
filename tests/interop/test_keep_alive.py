"""Sessions that are kept alive by renewals, as ``sessions.proto`` has it, driven by a client of another make."""

import time
from collections.abc import Callable, Iterator

import grpc
import pytest

from tests.interop.conftest import serving
from tests.interop.keeper import Generated, Keeper, generate, named, refused, taken
from tests.interop.peer import Published, changes, failure, fresh, refusal

MIN_S, MAX_S = 0.4, 5.0
TTL_MS = 500
TTL_S = TTL_MS / 1000
LATE_S = 0.1
"""How late a session may end."""
SLACK_S = 0.8
"""What a busy machine may add."""

Make = Callable[..., Keeper]


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    """protoc's own output."""
    return generate(tmp_path_factory.mktemp("sessions"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server in a process of its own, with limits."""
    log = tmp_path_factory.mktemp("server") / "stderr"
    limits = ("--min-session-ttl", str(MIN_S), "--session-ttl", str(TTL_S), "--max-session-ttl", str(MAX_S))
    with serving(log, *limits) as (found, _):
        yield found


@pytest.fixture
def keeper(published: Published, sessions: Generated, server: str) -> Iterator[Make]:
    """What makes clients, and closes them at the end of the test."""
    made: list[Keeper] = []

    def make(*args: str, **options: str) -> Keeper:
        made.append(Keeper(published, sessions, server, *args, **options))
        return made[-1]

    yield make
    for each in made:
        each.channel.close()


def both(keeper: Make) -> tuple[Keeper, Keeper]:
    """Return two clients in one election."""
    first = keeper()
    return first, keeper(first.election)


@pytest.mark.parametrize(
    ("wanted_ms", "granted_ms"), [(600, 600), (1, 400), (60_000, 5_000), (2**64 - 1, 5_000), (0, 500)]
)
def test_a_time_to_live_is_granted_within_limits(keeper: Make, wanted_ms: int, granted_ms: int) -> None:
    """0 asks for the server's default."""
    answer = keeper().stream().renew(open=True, ttl_ms=wanted_ms)
    assert (answer.ttl_ms, answer.ended) == (granted_ms, False)
    assert answer.longest_failover_ms >= granted_ms + 100


def test_the_longest_failover_is_that_of_the_longest_session(keeper: Make) -> None:
    """Also of somebody else's: a predecessor under the same id may have had more time than the one that comes."""
    longest = keeper().stream().renew(open=True, ttl_ms=5_000)
    answer = keeper().stream().renew(open=True, ttl_ms=600)
    assert answer.longest_failover_ms == longest.longest_failover_ms == 5_100
    assert answer.store_id


def test_a_session_keeps_its_time_to_live(keeper: Make) -> None:
    """Whatever is asked later, on the same stream or on another one."""
    client = keeper()
    stream = client.opened(1000)
    assert stream.renew(open=True, ttl_ms=2000).ttl_ms == 1000
    assert client.stream().renew(open=True, ttl_ms=3000).ttl_ms == 1000


def test_every_renewal_is_answered_by_its_number(keeper: Make) -> None:
    """Also by an answer to a later one: the last number is always named, and none that was not sent."""
    stream = keeper().opened(TTL_MS)
    for number in (7, 8, 1 << 63):
        stream.send(renewal=number)
        assert stream.until(lambda answer, number=number: answer.renewal == number)


def test_a_leadership_is_granted_to_its_session_alone(keeper: Make) -> None:
    """Pushed when it begins, named in every answer, with its number and candidate."""
    first, second = both(keeper)
    one, other = first.opened(2000), second.opened(2000)
    first.call("Enter", "a")
    second.call("Enter", "b")
    granted = [(first.election, 1, "a")]
    assert named(one.until(lambda answer: answer.leaderships)) == granted
    assert named(one.renew()) == granted
    assert named(other.renew()) == []
    first.call("Withdraw", "a")
    pushed = other.until(lambda answer: answer.leaderships)
    assert (named(pushed), pushed.renewal) == ([(first.election, 2, "b")], 2)
    assert named(one.renew()) == []


def test_a_session_leads_in_many_elections(keeper: Make) -> None:
    """One answer names them all; the end of the session leaves them all."""
    client = keeper()
    stream = client.opened(2000)
    elections = [fresh("many") for _ in range(5)]
    for name in elections:
        client.election = name
        client.call("Enter", "a")
    assert sorted(named(stream.renew())) == sorted((name, 1, "a") for name in elections)
    client.end()
    assert stream.until(lambda answer: answer.ended)
    for name in elections:
        client.election = name
        assert list(client.call("GetTerm").term.candidates) == []


@pytest.mark.parametrize("command", ["Anoint", "Promote", "Evict"])
def test_the_next_one_waits_for_the_confirmation(keeper: Make, command: str) -> None:
    """The term changes at once, the former leader is told, and told again, until it says that it has stepped down."""
    first, second = both(keeper)
    one, other = first.opened(4000), second.opened(4000)
    first.call("Enter", "a")
    second.call("Enter", "b")
    one.until(lambda answer: answer.leaderships)
    term = second.call(command, "a" if command == "Evict" else "b").term
    assert (term.leader_id, term.timestamp.epoch_timestamp.epoch) == ("b", 2)
    lost = one.until(lambda answer: answer.revoked)
    revoked = [(1, "a", command == "Evict")]
    assert (named(lost), taken(lost)) == ([], revoked)
    assert taken(one.renew()) == revoked
    assert named(other.renew()) == []
    assert taken(one.stepped_down(0, first.election, "a")) == revoked  # of an earlier one
    assert taken(one.stepped_down(1, fresh("other"), "a")) == revoked
    assert named(other.renew()) == []
    one.stepped_down(1, first.election, "a")
    assert named(other.until(lambda answer: answer.leaderships)) == [(first.election, 2, "b")]
    assert taken(one.renew()) == []


def test_the_next_one_waits_for_one_time_to_live_of_one_that_does_not_confirm(keeper: Make) -> None:
    """And no longer, also when that one renews for ever."""
    first, second = both(keeper)
    one, other = first.opened(TTL_MS), second.opened(4000)
    first.call("Enter", "a")
    second.call("Enter", "b")
    began = time.monotonic()
    second.call("Anoint", "b")
    done = False
    while not done:
        one.renew()
        done = bool(other.renew().leaderships)
    assert TTL_S <= time.monotonic() - began < TTL_S + LATE_S + SLACK_S
    assert taken(one.renew()) == []
    assert first.call("GetTerm").term.timestamp.epoch_timestamp.epoch == 2


def test_the_next_one_waits_for_the_end_of_a_session(keeper: Make) -> None:
    """Sooner than its time-to-live after the change, where it was about to end anyway, or is ended."""
    first, second = both(keeper)
    first.opened(4000)
    other = second.opened(4000)
    first.call("Enter", "a")
    second.call("Enter", "b")
    second.call("Anoint", "b")
    assert named(other.renew()) == []
    first.end()
    assert named(other.until(lambda answer: answer.leaderships)) == [(first.election, 2, "b")]


@pytest.mark.parametrize("how", ["nothing more is sent", "the stream ends", "the channel is closed"])
def test_a_session_ends_one_time_to_live_after_its_last_renewal(keeper: Make, how: str) -> None:
    """Neither calls nor an open connection keep it, and its end is answered on its stream."""
    client, watcher = both(keeper)
    stream = client.opened(TTL_MS)
    client.call("Enter", "a")
    events = watcher.events()
    next(events)
    number = stream.send()
    answered = stream.until(lambda answer: answer.renewal == number)
    assert named(answered)
    if how == "the channel is closed":
        client.channel.close()
    elif how == "the stream ends":
        stream.finish()
        assert client.call("GetTerm").term.leader_id == "a"
    changes(events, 1)
    took_s = time.monotonic() - stream.sent_at
    assert TTL_S <= took_s < TTL_S + LATE_S + SLACK_S
    if how == "nothing more is sent":
        last = stream.until(lambda answer: answer.ended)
        assert (last.store_id, last.ttl_ms, named(last)) == (answered.store_id, 0, [])
        assert list(stream.call) == []
        assert refusal(lambda: client.call("Enter", "a")) == ("NOT_FOUND", "SessionEnded")


def test_a_stream_takes_up_an_open_session(keeper: Make) -> None:
    """Without ``open``; it goes on where the former stream was, with its leaderships."""
    client = keeper()
    client.opened(2000).finish()
    client.call("Enter", "a")
    assert named(client.stream().renew()) == [(client.election, 1, "a")]


def test_a_session_that_is_not_open_is_answered_as_ended(keeper: Make) -> None:
    """Nothing else but the store's identity is said, the stream ends well, and nothing was opened."""
    client = keeper()
    store_id = keeper().stream().renew(open=True).store_id
    stream = client.stream()
    answer = stream.renew()
    assert (answer.ended, answer.store_id, answer.ttl_ms, answer.longest_failover_ms) == (True, store_id, 0, 0)
    assert list(stream.call) == []
    assert stream.call.code() is grpc.StatusCode.OK
    assert refusal(lambda: client.call("Enter", "a")) == ("NOT_FOUND", "SessionEnded")


def test_end_takes_a_session_out_at_once(keeper: Make) -> None:
    """Again is no error; opened anew under the same id it has nothing of the former one."""
    client, watcher = both(keeper)
    stream = client.opened(5000)
    client.call("Enter", "a")
    client.end()
    assert list(watcher.call("GetTerm").term.candidates) == []
    assert stream.until(lambda answer: answer.ended)
    client.end()
    again = client.opened(5000)
    assert named(again.renew()) == []
    assert client.call("Enter", "a").term.timestamp.epoch_timestamp.epoch == 2


def test_the_two_kinds_of_session_do_not_mix(keeper: Make) -> None:
    """One that Create opened is kept by connections, and cannot be renewed; it lives on after the attempt."""
    client = keeper()
    client.enter("a")
    stream = client.stream()
    stream.send(open=True)
    error = refused(stream.call)
    assert failure(error) == ("INVALID_ARGUMENT", "InvalidRequest")
    assert client.call("GetTerm").term.leader_id == "a"


def test_a_numbered_write_can_be_repeated(keeper: Make) -> None:
    """The newest is answered with the current term, an older one is refused; each election counts for itself."""
    client = keeper()
    client.opened(5000)

    def write(method: str, number: int, candidate: str) -> list[str]:
        metadata = (*client.metadata, ("atomix-election-operation", str(number)))
        return list(client.call(method, candidate, metadata=metadata).term.candidates)

    assert write("Enter", 1, "a") == ["a"]
    assert write("Enter", 2, "b") == ["a", "b"]
    assert write("Enter", 2, "b") == ["a", "b"]
    assert write("Withdraw", 5, "a") == ["b"]
    assert refusal(lambda: write("Enter", 1, "a")) == ("ABORTED", "OutcomeUnknown")
    assert refusal(lambda: write("Enter", 4, "a")) == ("ABORTED", "OutcomeUnknown")
    assert write("Withdraw", 5, "a") == ["b"]
    client.election = fresh("election")
    assert write("Enter", 1, "a") == ["a"]


@pytest.mark.parametrize(
    "message", [b"\xff\xff\xff\xff", b"\x0a\x01x", b"\x22\x05\x0a\x01", b"\x08", b"\x22\x03\x0a\x01\xff"], ids=bytes.hex
)
@pytest.mark.parametrize("place", ["first", "later"])
def test_a_malformed_message_ends_its_stream_alone(keeper: Make, message: bytes, place: str) -> None:
    """INVALID_ARGUMENT; the session itself, and others on the connection, go on."""
    client = keeper()
    stream = client.opened(5000)
    client.call("Enter", "a")
    requests = (message,) if place == "first" else (b"\x08\x01", message)
    assert failure(refused(client.raw(*requests))) == ("INVALID_ARGUMENT", "InvalidRequest")
    assert named(stream.renew()) == [(client.election, 1, "a")]


@pytest.mark.parametrize("name", ["", "x" * 300, "a\nb"], ids=["empty", "too long", "unprintable"])
def test_a_confirmation_names_an_election(keeper: Make, name: str) -> None:
    """A name that no election can have is malformed, like everywhere else; the session goes on."""
    client = keeper()
    stream = client.opened(5000)
    stream.send(stepped_down=[stream.leadership(1, name, "a")])
    stream.finish()
    assert failure(refused(stream.call)) == ("INVALID_ARGUMENT", "InvalidRequest")
    assert not client.stream().renew().ended


def test_a_stream_needs_a_session(keeper: Make) -> None:
    """Without an id, or with one that is too long, it is refused, whatever it sends."""
    for refusing in (keeper(session="").stream(), keeper(session="x" * 300).stream()):
        refusing.send(open=True)
        assert failure(refused(refusing.call)) == ("INVALID_ARGUMENT", "InvalidRequest")
