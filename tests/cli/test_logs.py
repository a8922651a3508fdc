"""``serve --log-format`` and ``--log-level``: what goes to stderr, and what never does."""

import json
import signal
import subprocess
import sys
from typing import Any

import pytest

from atomix_election.cli import main
from atomix_election.model import session_digest
from atomix_election.service import Call, ElectionService
from tests.cli.processes import Running, anoint, with_service

SECRET = "a-session-id-that-is-a-secret"
SERVE = ("serve", "--listen", "127.0.0.1:0", "--store", "memory://")


def use(target: str) -> None:
    """Enter two candidates of one session, and make the second the leader; then end the session."""

    async def work(service: ElectionService) -> None:
        call = Call("e", session=SECRET)
        await service.create(call)
        for candidate in ("a", "b"):
            await service.enter(call, candidate)

    with_service(target, work)
    anoint(target, "e", "b")
    with_service(target, lambda service: service.end_session("default", SECRET))


def log_of(*options: str) -> str:
    """Return what a server logs while it is used so."""
    with Running(*SERVE, *options) as server:
        use(server.target())
        status, out, log = server.end(signal.SIGTERM)
    assert (status, out) == (0, "")
    assert "Traceback" not in log
    return log


def test_json_has_one_object_a_line_with_the_facts_of_a_leader_change() -> None:
    """As members of their own: a program needs not read the sentence."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in log_of("--log-format", "json").splitlines()]
    assert all({"timestamp", "level", "logger", "message"} <= line.keys() for line in lines)
    changes = [line for line in lines if line.get("event") == "leader_changed"]
    assert [line["cause"] for line in changes] == ["entered", "anointed", "ended"]
    digest = session_digest("default", SECRET)
    facts = {
        "namespace": "default",
        "election": "e",
        "term": 2,
        "revision": 3,
        "former_leader": "a",
        "former_session": digest,
        "leader": "b",
        "leader_session": digest,
    }
    assert facts.items() <= changes[1].items()
    assert (changes[2]["leader"], changes[2]["leader_session"]) == (None, None)


def test_text_has_the_same_in_a_sentence() -> None:
    """One line for each leader change."""
    changes = [line for line in log_of().splitlines() if "leader of e" in line]
    assert len(changes) == 3
    digest = session_digest("default", SECRET)
    wanted = f"leader of e in namespace default changed (anointed): b of session {digest}, was a of session {digest}"
    assert f"{wanted}, term 2 revision 3" in changes[1]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_session_id_is_logged_at_any_level(log_format: str) -> None:
    """Not even by the libraries below, whose debug logs would show the headers of every call."""
    log = log_of("--log-level", "debug", "--log-format", log_format)
    assert f"session {session_digest('default', SECRET)} of namespace default is open" in log
    assert SECRET not in log


def test_the_level_is_the_least_that_is_logged() -> None:
    """A warning is still there; what is only information is not."""
    log = log_of("--log-level", "warning")
    assert "memory:// keeps nothing" in log
    assert "leader of e" not in log


@pytest.mark.parametrize("option", [["--log-format", "xml"], ["--log-level", "loud"]], ids=" ".join)
def test_what_is_not_known_is_a_wrong_command_line(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """And what is known is said."""
    assert main([*SERVE, *option]) == 2
    assert option[0] in capsys.readouterr().err


def test_importing_the_package_configures_no_logging() -> None:
    """That is for the application."""
    script = (
        "import logging; before = logging.root.handlers[:]; import atomix_election, atomix_election.cli; "
        "assert logging.root.handlers == before; "
        "assert not [name for name, each in logging.root.manager.loggerDict.items() "
        "if name.startswith('atomix_election') and (getattr(each, 'handlers', []) or getattr(each, 'level', 0))]"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
