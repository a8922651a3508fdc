"""``atomix-election bench``: measure a server, one's own or one that is started for it in this process.

With ``--json`` it prints one object, whose names docs/cli.md lists. How far it is goes to standard error.
"""

import logging
import secrets
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import anyio
import click

from atomix_election.addresses import split_target
from atomix_election.cli import PROGRAM
from atomix_election.cli.bench_figures import Figures, figures_json, figures_lines
from atomix_election.cli.bench_load import Begin, Plan, measure
from atomix_election.cli.frame import Option, subcommand
from atomix_election.cli.options import Where, client_options_or, json_option, target_is_given
from atomix_election.cli.statuses import DONE
from atomix_election.cli.terminal import is_drawn_on
from atomix_election.cli.values import Seconds
from atomix_election.errors import InvalidRequest
from atomix_election.server import ElectionServer
from atomix_election.signals import cancelled_by_sigterm
from atomix_election.tasks import background_tasks

PREFIX = "atomix-election-bench-"
"""What the name of its election begins with."""
LONGEST_S = 300.0
"""Each part takes no longer."""
MOST_CLIENTS = 200
"""More than one process of Python can keep busy, and a quarter of the connections that a server allows."""
DRAW_S = 0.25
"""Between two pictures of how far it is: what draws them is measured too."""

_MORE = (
    "It enters and withdraws, asks for the term, and hands the lead over, all in an election of its own, which it "
    "removes at the end. Figures are what one process of Python sees, and include its own work."
)


@subcommand("bench", _MORE)
@click.option(
    "--duration",
    cls=Option,
    metavar="SECONDS",
    type=Seconds(LONGEST_S),
    default=5.0,
    show_default=True,
    help="how long each of the three parts takes",
)
@click.option(
    "--clients",
    cls=Option,
    metavar="N",
    type=click.IntRange(1, MOST_CLIENTS),
    default=8,
    show_default=True,
    help="how many enter, withdraw and ask at once",
)
@json_option
@client_options_or("a server of its own, in this process")
def command(duration: float, clients: int, where: Where, as_json: bool) -> int:
    """Run it, and return the exit status."""
    where.checked_namespace()
    target = where.target if target_is_given() else None
    if target is None:
        _check_needs_no_target(where)
    elif split_target(target) == ("memory", ""):
        raise InvalidRequest(
            f"target {target!r} is of each client alone: give it a name, as in memory://bench, or no target at all"
        )
    plan = Plan(PREFIX + secrets.token_hex(8), clients, duration)
    figures = anyio.run(_bench, where, target, plan)
    if as_json:
        print(figures_json(figures, target, where.namespace, clients, duration))
    else:
        print("\n".join(figures_lines(figures, target, clients)))
    return DONE


def _check_needs_no_target(where: Where) -> None:
    for option, given in (("token-file", where.token_file), ("ca", where.ca), ("certificate", where.certificate)):
        if given:
            raise InvalidRequest(f"--{option} says how a server is reached: name it with --target")


async def _bench(where: Where, target: str | None, plan: Plan) -> Figures:
    with cancelled_by_sigterm():
        async with AsyncExitStack() as stack:
            if target is None:
                server = await stack.enter_async_context(ElectionServer(session_ttl=where.session_ttl))
                where = where._replace(target=server.target)
            remarks: list[str] = []
            stack.callback(_say, remarks)
            stack.enter_context(_collecting(remarks))
            begin = await stack.enter_async_context(_showing(plan))
            return await measure(where, plan, begin, remarks.append)
    raise AssertionError("the block returns, or SIGTERM ends the process")


def _say(remarks: Iterable[str]) -> None:
    for each in remarks:
        print(f"{PROGRAM}: {each}", file=sys.stderr)


@asynccontextmanager
async def _showing(plan: Plan) -> AsyncGenerator[Begin]:
    """Show how far it is: drawn on a terminal, and else a line for each part."""
    if not is_drawn_on(sys.stderr):
        _say([f"measuring in election {plan.election}"])
        yield lambda part, duration_s: _say([f"{part}, for {duration_s:g} s"])
        return
    from atomix_election.cli.bench_progress import drawn_bar  # whose output goes elsewhere does not pay for it

    with drawn_bar() as bar:
        async with background_tasks() as tasks:
            tasks.start_soon(_keep_drawing, bar.draw)
            yield bar.begin


async def _keep_drawing(draw: Callable[[], None]) -> None:
    while True:
        await anyio.sleep(DRAW_S)
        draw()


class _Warnings(logging.Handler):
    """Counts what clients warn of, as each of them may say the same, and keeps the first."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0
        self.first = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.first = self.first or record.getMessage()
        self.count += 1


@contextmanager
def _collecting(remarks: list[str]) -> Generator[None]:
    """Let a remark stand for all warnings of the package."""
    logger, warnings = logging.getLogger("atomix_election"), _Warnings()
    logger.addHandler(warnings)
    try:
        yield
    finally:
        logger.removeHandler(warnings)
        if warnings.count:
            remarks.append(f"{warnings.count} warnings of its clients, the first: {warnings.first}")
