"""``run`` with real processes: nothing of a command goes on when the next leader's begins, whatever happens to whom.

The commands write down the time that processes share, so that no order is taken from who was read first.
"""

import os
import select
import signal
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime

import anyio.from_thread
import pytest

from atomix_election.model import Term
from atomix_election.service import Call
from atomix_election.supervise.rules import LOST
from tests.cli.processes import anoint, processes_of_session, with_service
from tests.faults.proxy import Proxy
from tests.supervise.processes import CHILD, GRACE_S, TTL_S, Line, Place, Wrapper, now, stop

STUBBORN = (*CHILD, "--stubborn", "--parent")
"""It takes no notice of SIGTERM, and has a child that takes none either."""
LONG = ("--session-ttl", "100")
"""A lease for which nobody can have waited."""
SLACK_S = 30.0
"""What a busy machine may add to a time that has an upper bound."""


@contextmanager
def leader_and_next(place: Place, *options: str, through: str = "") -> Generator[tuple[Wrapper, Wrapper, Line]]:
    """Let ``a`` lead and ``b`` wait; the command of the first one is the more stubborn. Give its first line too.

    Args:
        place: where they stand.
        options: those of ``a``.
        through: by which target ``a`` gets there, if it is another one.
    """
    with Wrapper(Place(through or place.target, place.election), "a", *options, run=STUBBORN) as a:
        former = a.line()
        with Wrapper(place, "b") as b:
            b.hears("waiting, 1 before it, a leads")
            yield a, b, former


def taken_over(b: Wrapper, former: Line) -> Line:
    """See ``b`` take over when nothing is left of the command of the former leader; return its first line."""
    latter = b.line()
    assert not processes_of_session(former.pid), "something of the command is left"
    assert latter.token > former.token
    return latter


def check(a: Wrapper, latter: Line) -> None:
    """Nothing that ``a`` ran was there when the next one began. Its wrapper must have ended."""
    lines = a.rest()
    assert {each.who for each in lines} == {"command", "child"}
    assert max(each.at for each in lines) < latter.at


def test_a_wrapper_that_is_killed(place: Place) -> None:
    """Its guard has the command stop, and kills all of it before another one leads."""
    with leader_and_next(place) as (a, b, former):
        killed = now()
        a.end(signal.SIGKILL)
        latter = taken_over(b, former)
        check(a, latter)
        assert latter.at - killed > TTL_S / 2, "the session was not left to its lease"


def test_a_wrapper_that_is_stopped_and_goes_on(place: Place) -> None:
    """Its guard ends the command at the deadline; the wrapper finds out when it wakes, and stands at the back."""
    with leader_and_next(place) as (a, b, former):
        stop(a.process.pid)
        latter = taken_over(b, former)
        os.kill(a.process.pid, signal.SIGCONT)
        a.hears("no longer leads")
        a.hears("waiting, 1 before it, b leads")
        assert b.end() == 128 + signal.SIGTERM
        again = a.line(token=latter.token + 1)
        a.end(signal.SIGKILL)
        assert again.at > max(each.at for each in [latter, *b.rest()])


def test_a_guard_that_is_killed(place: Place) -> None:
    """The wrapper notices, kills the command at once, and lets another one lead."""
    with leader_and_next(place, *LONG) as (a, b, former):
        killed = now()
        os.kill(a.guard, signal.SIGKILL)
        latter = taken_over(b, former)
        a.hears("its guard has ended")
        assert latter.at - killed < SLACK_S
        a.hears("waiting, 1 before it, b leads")
        a.end(signal.SIGKILL)
        check(a, latter)


def test_a_guard_that_is_stopped_when_it_is_needed(place: Place) -> None:
    """The wrapper does its work, when it does not."""
    with leader_and_next(place) as (a, b, former):
        stop(a.guard)
        anoint(*place, "b")
        latter = taken_over(b, former)
        a.hears("its guard does not answer")
        a.end(signal.SIGKILL)
        check(a, latter)


def test_both_are_killed(place: Place) -> None:
    """The command, though not its children, dies with its guard, where the system can do that."""
    with Wrapper(place, "a") as a:
        first = a.line()
        with os.fdopen(os.pidfd_open(first.pid), "rb", buffering=0) as command:
            stop(a.process.pid)
            os.kill(a.guard, signal.SIGKILL)
            a.end(signal.SIGKILL)
            assert select.select([command], [], [], SLACK_S)[0]  # what it wrote to is closed a moment before it is dead
        assert not processes_of_session(first.pid)


def test_one_that_is_cut_off(place: Place) -> None:
    """It has stopped its command before the lease can end, and comes back when the server can be reached again."""
    with anyio.from_thread.start_blocking_portal() as portal:
        proxy = Proxy(int(place.target.rpartition(":")[2]))
        with (
            portal.wrap_async_context_manager(proxy),
            leader_and_next(place, through=proxy.target) as (a, b, former),
        ):
            portal.call(proxy.part)
            latter = taken_over(b, former)
            a.hears("its lease runs out")
            portal.call(proxy.accept)
            a.hears("waiting, 1 before it, b leads")
            a.end(signal.SIGKILL)
            check(a, latter)


def test_one_from_whom_an_operator_takes_the_lead(place: Place) -> None:
    """It has a grace, and confirms when all of its command is gone: nobody waits for its lease."""
    with leader_and_next(place, *LONG) as (a, b, former):
        taken = now()
        with_service(place.target, lambda service: service.evict(Call(place.election), "a"))
        latter = taken_over(b, former)
        a.hears("no longer leads: evicted")
        assert GRACE_S < latter.at - taken < SLACK_S
        a.hears("waiting, 1 before it, b leads")
        assert a.end(signal.SIGINT) == 128 + signal.SIGINT
        assert term(place).candidates == ("b",)
        check(a, latter)


def test_what_the_command_is_told(place: Place) -> None:
    """The election and the term in its environment, and the rest of it as it was; a session of its own, and stdin."""
    script = "env | grep ^ATOMIX_ | sort; ps -o sid= -p $$ | tr -d ' '; echo $$; cat; exit 3"
    with Wrapper(place, "a", run=("sh", "-c", script)) as a:
        assert a.process.stdout is not None
        *variables, session, pid = a.process.stdout.read().splitlines()
        assert variables == [
            "ATOMIX_ELECTION_CANDIDATE=a",
            f"ATOMIX_ELECTION_NAME={place.election}",
            "ATOMIX_ELECTION_NAMESPACE=default",
            "ATOMIX_ELECTION_REVISION=1",
            "ATOMIX_ELECTION_TERM=1",
            "ATOMIX_ELECTION_TOKEN=1",
        ]
        assert session == pid
        assert a.process.wait() == 3
        assert term(place).candidates == ()


@pytest.mark.parametrize(
    ("command", "status", "why"),
    [
        (("sh", "-c", "kill -9 $$"), 137, "killed by SIGKILL"),
        (("no-such-command",), 127, "no-such-command cannot be run: No such file or directory"),
        (("/etc/passwd",), 126, "/etc/passwd cannot be run: Permission denied"),
    ],
)
def test_the_exit_status_is_passed_on(place: Place, command: tuple[str, ...], status: int, why: str) -> None:
    """As a shell does it, and the queue is left."""
    with Wrapper(place, "a", run=command) as a:
        a.hears(why)
        assert a.process.wait() == status
        assert term(place).candidates == ()


def test_a_signal_stops_the_command_and_then_the_wrapper(place: Place) -> None:
    """The group is sent SIGTERM, has its grace, and when it is gone the queue is left."""
    with leader_and_next(place, *LONG) as (a, b, former):
        sent = now()
        a.process.send_signal(signal.SIGTERM)
        latter = taken_over(b, former)
        assert a.process.wait() == 128 + signal.SIGTERM
        check(a, latter)
        assert GRACE_S < latter.at - sent < SLACK_S


def test_a_second_signal_kills_at_once(place: Place) -> None:
    """Without a grace; the status names the first one."""
    with Wrapper(place, "a", "--session-ttl", "100", run=STUBBORN) as a:
        a.line()
        a.process.send_signal(signal.SIGTERM)
        a.hears("stopping process group")
        a.process.send_signal(signal.SIGINT)
        a.hears("killing process group")
        a.rest()
        assert a.process.wait() == 128 + signal.SIGTERM


def test_other_signals_go_to_the_group(place: Place) -> None:
    """To all of it, and it goes on."""
    with Wrapper(place, "a", run=STUBBORN) as a:
        begun: set[str] = set()
        while begun != {"command", "child"}:  # each has its handler from its first line on
            begun.add(a.line().who)
        for number in (signal.SIGHUP, signal.SIGUSR1):
            a.process.send_signal(number)
            heard: set[str] = set()
            while heard != {"command", "child"}:
                line = a.line()
                heard |= {line.who} if line.at == number else set()


def test_once_ends_with_the_first_leadership(place: Place) -> None:
    """Its exit status says so; the leadership is over before it ends."""
    with leader_and_next(place, "--once") as (a, _, _):
        anoint(*place, "b")
        a.hears("no longer leads: superseded")
        assert a.process.wait() == LOST
        assert term(place).candidates == ("b",)


def test_restarting(place: Place) -> None:
    """It is started a delay after the election, and again under the same token; what it left behind is gone before."""
    script = "sleep 100 & echo command $$ $ATOMIX_ELECTION_TOKEN 0"
    with Wrapper(place, "a", "--restart", "--takeover-delay", "0.3", run=("sh", "-c", script)) as a:
        elected, started = (logged(a.hears(what)) for what in ("elected, token 1", "started sh"))
        assert (started - elected).total_seconds() >= 0.3
        first = a.line()
        second = a.line()
        assert second.pid != first.pid
        assert second.token == first.token
        assert not processes_of_session(first.pid)
        assert a.end() == 128 + signal.SIGTERM


def logged(line: str) -> datetime:
    """Return when a line was logged."""
    return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").astimezone()


def test_a_grace_that_does_not_fit_what_the_server_grants(place: Place) -> None:
    """It has another time-to-live than was asked for, and that is what counts."""
    with Wrapper(place, "a", "--session-ttl", "1000", "--grace", "200") as a:
        assert "a grace of 200 s does not fit a time-to-live of 300 s" in a.hears("does not fit")
        assert a.process.wait() != 0
        assert term(place).candidates == ()


def term(place: Place) -> Term:
    """Return who is in the queue."""
    return with_service(place.target, lambda service: service.get_term(Call(place.election)))
