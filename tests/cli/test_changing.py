"""``anoint``, ``promote`` and ``evict``: who leads changes, after a question that shows how, or with ``--yes``."""

import json
import subprocess

import pytest

from atomix_election import NotACandidate, Term
from atomix_election.cli import main
from atomix_election.cli.changing import SHOWN, Change, preview, resulting
from atomix_election.core.commands import Anoint, Evict, Promote
from atomix_election.service import Call, ElectionService
from tests.cli.processes import ask, command, enter, environment, with_service

WAIT_S = 20.0
CHANGES = ("anoint", "promote", "evict")
FORMER = ("a", "b", "c")
EXPECTED = {"anoint": ("c", "a", "b"), "promote": ("a", "c", "b"), "evict": ("a", "b")}


def term_of(target: str, election: str) -> Term:
    """Return what a server says."""

    async def work(service: ElectionService) -> Term:
        return await service.get_term(Call(election))

    return with_service(target, work)


@pytest.mark.parametrize("name", CHANGES)
def test_with_yes_it_is_done(name: str, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And the term after it is printed, the same that the server has."""
    enter(target, f"yes-{name}", *FORMER)
    assert main([name, f"yes-{name}", "c", "--yes", "--json", "--target", target]) == 0
    printed = json.loads(capsys.readouterr().out)
    term = term_of(target, f"yes-{name}")
    assert term.candidates == EXPECTED[name]
    assert printed == {
        "election": f"yes-{name}",
        "leader": term.leader,
        "candidates": list(term.candidates),
        "number": term.number,
        "revision": 4,
    }


@pytest.mark.parametrize("name", CHANGES)
def test_the_preview_is_what_a_server_does(name: str, target: str) -> None:
    """Status 1 and nothing done after a no; after a yes, the queue that was shown."""
    election = f"ask-{name}"
    enter(target, election, *FORMER)
    status, said, asked = ask("n", name, election, "c", "--target", target)
    assert (status, said) == (1, "")
    assert f"{name.capitalize()} c in {election}, namespace default? [y/N] " in asked
    assert term_of(target, election).candidates == FORMER
    status, said, asked = ask("y", name, election, "c", "--target", target)
    after = term_of(target, election)
    assert status == 0
    assert said.startswith(f"{election}: term {after.number} revision 4  {after.leader} leads, waiting: ")
    shown = [line.split()[2] for line in asked.splitlines() if line[:4].strip().isdigit()]
    assert tuple(each for each in shown if each != "-") == after.candidates == EXPECTED[name]


@pytest.mark.parametrize("name", CHANGES)
def test_where_nobody_can_be_asked_it_needs_yes(name: str) -> None:
    """Status 2, before anything is sent."""
    result = subprocess.run(
        command(name, "e", "a"),
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"atomix-election: {name} a in e needs --yes where nobody can be asked\n"


@pytest.mark.parametrize("name", CHANGES)
def test_who_does_not_stand_is_a_failure_in_words(name: str, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And an id that nobody can have is a wrong command line."""
    assert main([name, "nobody", "x", "--yes", "--target", target]) == 1
    assert "'x' is not a candidate of this election" in capsys.readouterr().err
    assert main([name, "nobody", " x", "--yes", "--target", target]) == 2
    assert "candidate id" in capsys.readouterr().err


@pytest.mark.parametrize("change", [Anoint("x"), Promote("x"), Evict("x")])
def test_who_does_not_stand_is_not_asked_about(change: Change) -> None:
    """The rules of the core refuse it before."""
    with pytest.raises(NotACandidate, match="'x' is not a candidate"):
        resulting(Term(FORMER, 1, 3), change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Promote("c"), "a keeps the lead"),
        (Promote("b"), "b takes the lead from a, under a new token"),
        (Evict("a"), "b takes the lead from a, under a new token"),
    ],
)
def test_who_leads_then_is_said(change: Change, said: str) -> None:
    """In the last line."""
    before = Term(FORMER, 1, 3)
    assert list(preview(before, resulting(before, change)))[-1] == said


def test_the_last_one_leaves_nobody() -> None:
    """Its place is shown as empty."""
    before = Term(("only",), 1, 1)
    assert list(preview(before, resulting(before, Evict("only")))) == [
        "      NOW   THEN",
        "   1  only  -",
        "nobody leads then",
    ]


def test_of_a_long_queue_the_part_that_differs_is_shown() -> None:
    """With the first place, and what is left out counted."""
    before = Term(tuple(f"c{number}" for number in range(1, 101)), 1, 100)
    lines = list(preview(before, resulting(before, Promote("c50"))))
    assert lines[:6] == [
        "      NOW  THEN",
        "   1  c1   c1",
        "      (46 more)",
        "  48  c48  c48",
        "  49  c49  c50",
        "  50  c50  c49",
    ]
    assert lines[-2:] == [f"      ({100 - 48 - SHOWN} more)", "c1 keeps the lead"]


def test_what_is_so_already_is_not_asked(
    target: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who leads is anointed without a change."""
    enter(target, "already", *FORMER)
    monkeypatch.setattr("atomix_election.cli.changing.check_can_ask", lambda _: None)
    assert main(["anoint", "already", "a", "--target", target]) == 0
    assert capsys.readouterr() == ("already: term 1 revision 3  a leads, waiting: b, c\n", "")
