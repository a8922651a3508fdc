"""What ``watch`` shows on a terminal: the queue as it is, for how long, and the last changes."""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

import anyio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from atomix_election.cli.options import Where, local_time, term_line
from atomix_election.clock import wall_clock_s
from atomix_election.errors import ElectionError
from atomix_election.model import Term
from atomix_election.service import Call, Service
from atomix_election.tasks import background_tasks

CHANGES = 5
"""The changes that are shown, at most."""
TICK_S = 1.0
"""How often it is drawn anew, as time passes."""
_OTHER_LINES = 9 + CHANGES
"""Lines of a terminal that are needed beside the queue."""


class Picture:
    """What is known of an election. It reads no clock: all times are what a wall clock said, in seconds.

    Args:
        election: its name.
        namespace: where that lives.
    """

    def __init__(self, election: str, namespace: str) -> None:
        self._election = election
        self._namespace = namespace
        self._term: Term | None = None
        self._began_s: float | None = None
        self._changes: deque[str] = deque(maxlen=CHANGES)
        self._interruption = ""

    def see(self, term: Term, now_s: float) -> None:
        """This is the term, from now on; the first one may have begun at any time before."""
        if self._term is not None and (self._term.number, self._term.leader) != (term.number, term.leader):
            self._began_s = now_s
        self._term = term
        self._interruption = ""
        self._changes.append(f"{local_time(datetime.fromtimestamp(now_s, UTC))}  {term_line(term)}")

    def began(self, number: int, began_s: float) -> None:
        """A term began then; it is news only as long as that is the one which is shown."""
        if self._term is not None and self._term.number == number and self._began_s is None:
            self._began_s = began_s

    def interrupted(self, why: str) -> None:
        """What is shown may not be so any more, until there is another event."""
        self._interruption = why

    def drawn(self, now_s: float, height: int) -> RenderableType:
        """Return what to show.

        Args:
            now_s: what the wall clock says.
            height: of the terminal, in lines.
        """
        if self._term is None:
            return Text(self._interruption or "connecting")
        lasting = "" if self._began_s is None else f"for {_length(max(now_s - self._began_s, 0.0))}"
        about = Table.grid(padding=(0, 2))
        about.add_row(Text("election"), Text(self._election, "bold"), Text(f"namespace {self._namespace}"))
        about.add_row(Text("leader"), Text(self._term.leader or "(nobody)", "bold"), Text(lasting))
        about.add_row(Text("token"), Text(str(self._term.number)), Text(f"revision {self._term.revision}"))
        queue = [Text(line) for line in self._queue(self._term, max(height - _OTHER_LINES, 1))]
        changes = [Text(line, "dim", no_wrap=True, overflow="ellipsis") for line in self._changes]
        parts = [about, Text(), *queue, Text(), *changes]
        return Group(*parts, *([Text(self._interruption, "red")] if self._interruption else []))

    def _queue(self, term: Term, places: int) -> Iterator[str]:
        for place, candidate in enumerate(term.candidates[:places], 1):
            yield f"{place:4}  {candidate}"
        if len(term.candidates) > places:
            yield f"      ({len(term.candidates) - places} more)"


class _Interruptions(logging.Handler):
    """Shows what would go to stderr, and break the picture."""

    def __init__(self, picture: Picture) -> None:
        super().__init__(logging.INFO)
        self._picture = picture

    def emit(self, record: logging.LogRecord) -> None:
        self._picture.interrupted(record.getMessage())


async def show(where: Where, call: Call) -> None:
    """Show an election until it is cancelled.

    Raises:
        ElectionError: it cannot be watched.
    """
    picture, console = Picture(call.election, call.namespace), Console()
    logging.basicConfig(level=logging.INFO, handlers=[_Interruptions(picture)])
    with Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:

        def draw() -> None:
            live.update(picture.drawn(wall_clock_s(), console.height), refresh=True)

        draw()
        async with (
            where.connecting() as service,
            service.events(call) as events,
            background_tasks() as tasks,
        ):
            tasks.start_soon(_keep_drawing, draw)
            is_first = True
            async for event in events:
                picture.see(event.term, wall_clock_s())
                draw()
                if is_first:
                    tasks.start_soon(_ask_when_it_began, service, call, picture)
                is_first = False


async def _keep_drawing(draw: Callable[[], None]) -> None:
    while True:
        await anyio.sleep(TICK_S)
        draw()


async def _ask_when_it_began(service: Service, call: Call, picture: Picture) -> None:
    """Ask once: servers of others do not know, and then it is not shown."""
    with suppress(ElectionError):
        description = await service.describe(call)
        if description.began_at is not None:
            picture.began(description.term.number, description.began_at.timestamp())


def _length(seconds: float) -> str:
    """Return a length of time in its two largest units."""
    left, parts = int(seconds), list[str]()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
