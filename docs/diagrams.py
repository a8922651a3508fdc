"""Draw the diagrams of the documentation from the tables of the code: ``python -m docs.diagrams``.

They are checked in, so that GitHub shows them too, and a test compares them with what is drawn here.
"""

import re
import tomllib
from collections.abc import Iterable
from html import escape
from pathlib import Path

from atomix_election.core.campaign import Timing
from atomix_election.core.commands import (
    Anoint,
    Close,
    Command,
    Create,
    Enter,
    Evict,
    ExpireSession,
    Forget,
    Promote,
    SteppedDown,
    Withdraw,
)
from atomix_election.core.election import Election, apply
from atomix_election.model import Candidate, SessionId

ROOT = Path(__file__).parents[1]
FOLDER = Path(__file__).parent / "diagrams"
CHARACTER = 7.3
"""Width of a character, in pixels, as all others here."""
LINE = 20
BOX = 30
GAP = 10
WIDTH = 800
EDGE, FILL, TEXT, LEADER = "#6b7280", "#eef2ff", "#111827", "#c7d2fe"

ANNA, BRUNO, CARLA = (Candidate(name, SessionId("default", f"of {name}", 1)) for name in ("anna", "bruno", "carla"))
BEFORE = Election((ANNA, BRUNO, CARLA), number=1, revision=3)
COMMANDS: dict[str, Command] = {
    "Enter dora": Enter("dora", SessionId("default", "of dora", 1)),
    "Withdraw anna": Withdraw("anna", ANNA.session),
    "Anoint carla": Anoint("carla"),
    "Promote carla": Promote("carla"),
    "Evict anna": Evict("anna"),
    "Close, by anna": Close(ANNA.session),
    "Create, by bruno": Create(BRUNO.session),
    "the session of anna ends": ExpireSession(ANNA.session),
    "SteppedDown, by anna": SteppedDown(ANNA.session, 1),
    "Forget": Forget(),
}
"""Every command, at an election in which three stand."""


def box(x: float, y: float, width: float, text: str, fill: str = FILL) -> str:
    """Draw a box with a line of text."""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{BOX}" rx="4" fill="{fill}" stroke="{EDGE}"/>\n'
        + words(x + width / 2, y + LINE, text, "middle")
    )


def words(x: float, y: float, text: str, anchor: str = "start") -> str:
    """Write a line of text."""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{TEXT}">{escape(text)}</text>\n'


def bar(x: float, y: float, width: float, fill: str) -> str:
    """Draw a stretch of time."""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{BOX}" fill="{fill}" stroke="{EDGE}"/>\n'


def picture(title: str, height: float, parts: Iterable[str]) -> str:
    """Put a picture together."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img"'
        f' font-family="monospace" font-size="12">\n<title>{escape(title)}</title>\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{"".join(parts)}</svg>\n'
    )


def layers() -> str:
    """Draw which module may import which: those below it. The order is that of import-linter's contract."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = (each for each in contracts if each["id"] == "layers")
    parts: list[str] = []
    y = GAP
    for layer in contract["layers"]:
        x = GAP
        for name in re.findall(r"\w+", layer):
            width = len(name) * CHARACTER + 2 * GAP
            if x + width > WIDTH:
                x, y = 2 * GAP, y + BOX
            parts.append(box(x, y, width, name))
            x += width + GAP
        y += BOX + GAP
    return picture(contract["name"], y, parts)


def commands() -> str:
    """Draw what each command makes of an election, as ``core.election.apply`` says."""
    columns = (GAP, 210, 520)
    parts = [words(columns[0], LINE, "command"), words(columns[1], LINE, "queue"), words(columns[2], LINE, "term")]
    y = LINE + GAP
    for name, command in {"(before)": None, **COMMANDS}.items():
        refused = ""
        after = BEFORE
        if command is not None:
            transition = apply(BEFORE, command)
            after, refused = transition.election, type(transition.refusal).__name__ if transition.refusal else ""
        parts.append(words(columns[0], y + LINE, name))
        for number, candidate in enumerate(after.candidates):
            parts.append(box(columns[1] + 70 * number, y, 62, candidate.id, FILL if number else LEADER))
        term = "unchanged" if command is not None and after.term == BEFORE.term else _term(after)
        parts.append(words(columns[2], y + LINE, f"refused: {refused}" if refused else term))
        y += BOX + GAP
    return picture("What each command makes of an election", y, parts)


def _term(election: Election) -> str:
    return f"number {election.number}, revision {election.revision}"


def lease() -> str:
    """Draw how ``core.campaign.Timing`` divides a time-to-live, if no renewal after the first one is answered."""
    timing = Timing(10.0)
    moments = {
        0.0: "a renewal is sent that will be answered",
        timing.renew_interval_s: "the next renewal is sent",
        timing.renew_interval_s + timing.answer_timeout_s: "no answer: another connection is tried",
        timing.ttl_s - timing.margin_s - timing.grace_s: "the leader begins to step down: its block is cancelled",
        timing.ttl_s - timing.margin_s: "is_leader is False from here on",
        timing.ttl_s: "the server ends the session, at the earliest",
    }
    left = 470
    scale = (WIDTH - left - GAP) / timing.ttl_s
    parts: list[str] = []
    y = GAP
    for at, what in moments.items():
        parts.append(words(GAP, y + LINE, f"{at:5.2f} s  {what}"))
        leads = min(at, timing.ttl_s - timing.margin_s) * scale
        parts.append(bar(left, y, leads, LEADER) + bar(left + leads, y, at * scale - leads, FILL))
        y += BOX + GAP
    return picture("A time-to-live of 10 s, from the sending of a renewal", y, parts)


DIAGRAMS = {"layers": layers, "commands": commands, "lease": lease}


def main() -> None:
    """Write them all."""
    FOLDER.mkdir(exist_ok=True)
    for name, draw in DIAGRAMS.items():
        (FOLDER / f"{name}.svg").write_text(draw())


if __name__ == "__main__":
    main()
