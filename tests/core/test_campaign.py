"""The transcripts in tests/transcripts/campaign: what happened to a client, and what it is to do.

    == TITLE                        a new campaign begins, with a time-to-live of 12 s: renewed every 4 s, answered
                                    within 3 s, steps down 1 s before its deadline, which is 11.7 s after a sending
    # ...                           a comment
    jitter J                        of a campaign from its beginning
    at T connected   -> ACTIONS     and so on: tick, disconnected, refused, disowned, began G, finished G (the work
                                    under G)
    at T answer N [leads G...] [revoked G...] [evicted G...] [store S] [ended]   -> ACTIONS
    at T term x#N CANDIDATES        -> ACTIONS
    at T over REASON                -> ACTIONS
    at T leads x a   -> G           or no
    at T left G      -> SECONDS     for how long it leads if nothing is heard any more
    at T wake        -> TIME        or never

G is a leadership: x#2=a is that of candidate a in election x under number 2. ACTIONS is all that is returned, in order.
"""

import math
import re
from pathlib import Path

import pytest

from atomix_election.core import campaign
from atomix_election.core.campaign import (
    Abandon,
    Action,
    Answer,
    Campaign,
    GiveBack,
    Granted,
    HangUp,
    Reconnect,
    Renew,
    Revoked,
    StartLeading,
    StepDown,
    Timing,
)
from atomix_election.errors import InvalidRequest, LossReason
from atomix_election.model import Term

TTL_S, FAILOVER_S = 12.0, 12.1
TRANSCRIPTS = Path(__file__).parents[1] / "transcripts" / "campaign"
LEAST_SCENARIOS = 40
CLOCK_ERROR = 0.01


def leadership(text: str) -> Granted:
    match = re.fullmatch(r"([a-z])#(\d+)=([a-z])", text)
    assert match, f"not a leadership: {text}"
    return Granted(match[1], int(match[2]), match[3])


def name(granted: Granted) -> str:
    return f"{granted.election}#{granted.number}={granted.candidate_id}"


def said(action: Action) -> str:
    """An action, as the transcripts say it."""
    match action:
        case Renew(renewal, stepped_down):
            confirmed = " ".join(map(name, stepped_down))
            return f"renew {renewal}" + (f" confirming {confirmed}" if confirmed else "")
        case Reconnect():
            return "reconnect"
        case HangUp():
            return "hang up"
        case StartLeading(granted):
            return f"start {name(granted)}"
        case StepDown(granted, reason):
            return f"step down {name(granted)} {reason.value}"
        case GiveBack(granted):
            return f"give back {name(granted)}"
        case Abandon(granted):
            return f"abandon {name(granted)}"


def answer(words: list[str]) -> Answer:
    """Read what the server says."""
    parts: dict[str, list[str]] = {"number": [], "leads": [], "revoked": [], "evicted": [], "store": [], "ended": []}
    part = "number"
    for word in words:
        if word in parts:
            part = word
            parts[part].append("") if word == "ended" else None
        else:
            parts[part].append(word)
    revoked = [
        Revoked(leadership(each), evicted=kind == "evicted") for kind in ("revoked", "evicted") for each in parts[kind]
    ]
    store = (parts["store"] or ["s"])[0]
    if parts["ended"]:
        return Answer(int(parts["number"][0]), store, ended=True)
    leads = tuple(map(leadership, parts["leads"]))
    return Answer(int(parts["number"][0]), store, TTL_S, FAILOVER_S, leads, tuple(revoked))


class Stage:
    """A campaign, and who tells it what happened."""

    def __init__(self) -> None:
        self.campaign = Campaign()

    def perform(self, line: str) -> str | None:
        """Do what a line says, and return what it comes to; None where it comes to nothing."""
        if match := re.fullmatch(r"jitter ([\d.]+)", line):
            self.campaign = Campaign(float(match[1]))
            return None
        if line == "releases on disconnect":
            self.campaign = Campaign(releases=True)
            return None
        match = re.fullmatch(r"at ([\d.]+) (\S+)(?: (.*))?", line)
        if match is None:
            raise ValueError(f"unknown line: {line}")
        now, verb, words = float(match[1]), match[2], (match[3] or "").split()
        asked = self.ask(now, verb, words)
        return ", ".join(map(said, self.tell(now, verb, words))) or "nothing" if asked is None else asked

    def ask(self, now: float, verb: str, words: list[str]) -> str | None:
        """What changes nothing."""
        match verb, words:
            case "leads", [election, candidate_id]:
                granted = self.campaign.leads(election, candidate_id, now)
                return name(granted) if granted else "no"
            case "left", [granted]:
                return f"{self.campaign.remaining_s(leadership(granted), now):.6g}"
            case "gone" | "unanswered", [granted]:
                place = leadership(granted).election, leadership(granted).candidate_id
                self.campaign.left(*place)
                if verb == "unanswered":
                    self.campaign.may_still_leave(*place)
                return "nothing"
            case "written", [election]:
                self.campaign.written(election)
                return "nothing"
            case "wake", []:
                wake_at = self.campaign.wake_at(now)
                return "never" if wake_at == math.inf else f"{wake_at:.6g}"
            case _:
                return None

    def tell(self, now: float, verb: str, words: list[str]) -> list[Action]:
        """What happens."""
        match verb, words:
            case "connected" | "tick", []:
                return self.campaign.connected(now) if verb == "connected" else self.campaign.tick(now)
            case "disconnected" | "refused", []:
                return self.campaign.disconnected() if verb == "disconnected" else self.campaign.refused(now)
            case "disowned", []:
                return self.campaign.disowned()
            case "leaving", [granted]:
                return self.campaign.leaving(leadership(granted).election, leadership(granted).candidate_id)
            case "began", [granted]:
                self.campaign.work_began(leadership(granted))
            case "finished", [granted]:
                return self.campaign.work_ended(leadership(granted), now)
            case "answer", _:
                return self.campaign.renewed(answer(words), now)
            case "term", [of, *candidates]:
                election, number = of.split("#")
                return self.campaign.term_seen(election, Term(tuple(candidates), int(number), 9))
            case "over", [*reason]:
                return self.campaign.ended(LossReason(" ".join(reason)))
            case _:
                raise ValueError(f"unknown line: {verb} {' '.join(words)}")
        return []


def scenarios() -> dict[str, list[tuple[str, str]]]:
    """Titles with their lines, each with its place."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path in sorted(TRANSCRIPTS.glob("*.txt")):
        title = ""
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            words = " ".join(line.split())
            if words.startswith("== "):
                title = f"{path.stem}: {words.removeprefix('== ')}"
                assert title not in found, f"used twice: {title}"
                found[title] = []
            elif words and not words.startswith("#"):
                found[title].append((f"tests/transcripts/campaign/{path.name}:{number}", words))
    return found


SCENARIOS = scenarios()


@pytest.mark.parametrize("lines", SCENARIOS.values(), ids=SCENARIOS)
def test_the_transcript_holds(lines: list[tuple[str, str]]) -> None:
    """What a transcript says is what happens, line for line."""
    assert lines, "a title without a line"
    stage = Stage()
    for place, line in lines:
        action, arrow, expected = (part.strip() for part in line.partition("->"))
        result = stage.perform(action)
        assert (result is not None) == bool(arrow), f"{place}: {action}: a result belongs to all but settings"
        assert result is None or result == expected, f"{place}: {action}\n  expected: {expected}\n  came out: {result}"


def test_no_transcript_got_lost() -> None:
    """The files are found."""
    assert len(SCENARIOS) >= LEAST_SCENARIOS


@pytest.mark.parametrize("line", ["tick", "at 1 tock", "at 1 leads x", "at 1 began", "at 1 term"])
def test_an_unknown_line_is_an_error(line: str) -> None:
    """Never skipped."""
    with pytest.raises(ValueError, match="unknown line"):
        Stage().perform(line)


@pytest.mark.parametrize("ttl_s", [1e-3, 1.0, 10.0, 12.0, 300.0, 1e6])
def test_all_waits_together_are_shorter_than_the_time_to_live(ttl_s: float) -> None:
    """A renewal may be lost, and its answer waited for, and there is still time to step down before the deadline."""
    timing = Timing(ttl_s)
    waits = timing.renew_interval_s + timing.call_timeout_s + timing.grace_s + timing.margin_s
    assert 0 < waits < ttl_s
    assert timing.call_timeout_s == pytest.approx(min(ttl_s / 2, 5.0))
    assert timing.connect_timeout_s == pytest.approx(min(ttl_s / 4, 2.0))
    assert timing.longest_pause_s == pytest.approx(ttl_s / 10)
    assert timing.renew_interval_s == pytest.approx(ttl_s / 3)
    assert timing.answer_timeout_s < timing.renew_interval_s
    assert timing.grace_s == pytest.approx(min(ttl_s / 10, 1.0))
    assert 0 < timing.watchdog_interval_s <= ttl_s / 10


@pytest.mark.parametrize("ttl_s", [1.0, 10.0, 300.0])
def test_the_margin_covers_clocks_that_differ(ttl_s: float) -> None:
    """Where the client's clock is 1 % slow and the server's 1 % fast, the deadline still comes first."""
    needed = 1 - (1 - CLOCK_ERROR) / (1 + CLOCK_ERROR)
    timing = Timing(ttl_s)
    assert timing.margin_s >= max(needed, 2 * CLOCK_ERROR) * ttl_s
    assert (ttl_s - timing.margin_s) / (1 - CLOCK_ERROR) < ttl_s / (1 + CLOCK_ERROR)


@pytest.mark.parametrize("ttl_s", [0.0, -1.0, math.nan, -math.inf])
def test_a_time_to_live_is_positive(ttl_s: float) -> None:
    """Anything else is refused, by its value."""
    with pytest.raises(InvalidRequest, match=rf"{ttl_s} s.* more than 0"):
        Timing(ttl_s)


def test_waits_that_are_too_long_together_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names each with its value, and the time-to-live."""
    monkeypatch.setattr(campaign, "MARGIN_PART", 0.5)
    with pytest.raises(InvalidRequest) as refusal:
        Timing(12.0)
    assert str(refusal.value) == (
        "renew interval 4 s + call timeout 5 s + grace 1 s + margin 6 s must be less than the time-to-live of 12 s"
    )


def test_an_endless_time_to_live_is_refused() -> None:
    """No deadline would ever come."""
    with pytest.raises(InvalidRequest, match="time-to-live of inf s"):
        Timing(math.inf)


def test_an_answer_says_what_holds_for_the_session() -> None:
    """The time-to-live, once and for all, and for how long a takeover takes at most."""
    member = Campaign()
    assert (member.timing, member.longest_failover_s, member.store_id) == (None, None, None)
    member.connected(0.0)
    member.renewed(Answer(1, "s", 12.0, 12.1), 0.1)
    member.renewed(Answer(1, "s", 99.0, 20.1), 0.2)
    assert (member.timing, member.longest_failover_s, member.store_id) == (Timing(12.0), 20.1, "s")


def test_working_tells_of_work_under_any_leadership() -> None:
    """Also under one that was lost, until it has ended."""
    stage = Stage()
    for line in ("at 0 connected", "at 0.1 answer 1 leads x#1=a", "at 0.2 began x#1=a"):
        stage.perform(line)
    assert stage.campaign.working
    stage.perform("at 1 over session ended")
    assert stage.campaign.working
    assert stage.campaign.over is LossReason.SESSION_ENDED
    stage.perform("at 2 finished x#1=a")
    assert not stage.campaign.working


def test_deadlines_are_of_all_under_which_something_may_be_done() -> None:
    """Those that are held, and those that are lost and whose work has not ended."""
    x, y = leadership("x#1=a"), leadership("y#2=a")
    one = Campaign()
    one.connected(0.0)
    one.renewed(Answer(1, "", TTL_S, FAILOVER_S, (x, y)), 0.0)
    one.work_began(x)
    deadline = TTL_S - Timing(TTL_S).margin_s
    assert one.deadlines == {x: deadline, y: deadline}
    one.ended(LossReason.SESSION_ENDED)
    assert one.deadlines == {x: deadline}
    one.work_ended(x, 1.0)
    assert one.deadlines == {}


def test_the_first_reason_is_why_it_is_over() -> None:
    """What comes later does not change it."""
    member = Campaign()
    member.ended(LossReason.STORE_CHANGED)
    member.ended(LossReason.SESSION_ENDED)
    assert member.over is LossReason.STORE_CHANGED
