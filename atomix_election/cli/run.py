"""``atomix-election run``: run a command while this process leads.

Exit statuses are others than those of all other commands, as the one that is run has its own: see ``STATUSES``.
"""

import logging
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio
import click

from atomix_election.addresses import Endpoint, parse_endpoints
from atomix_election.cli import PROGRAM
from atomix_election.cli.frame import Command, Option, say, subcommand
from atomix_election.cli.logs import FORMATS, configure_logging
from atomix_election.cli.options import NO_TARGET, Where, client_options, election_argument, target_is_given
from atomix_election.cli.values import seconds
from atomix_election.client import LeaderElection, connect
from atomix_election.clock import SystemClock
from atomix_election.errors import ElectionError, InvalidRequest, Unavailable
from atomix_election.supervise import LOST, Lease, Mode, Plan, Runner, serve_probe
from atomix_election.tasks import background_tasks

FAILED = 125
"""Exit status where ``run`` itself fails: none of a shell's, and seldom one of a command's."""
STATUSES = {
    "that of the command": "it ended by itself, or was killed by a signal: then 128 and its number",
    str(LOST): "with --once: the leadership was lost before the command had ended",
    str(FAILED): "run itself failed",
    "126, 127": "the command cannot be run, or is not found",
    "130, 143": "run was sent SIGINT or SIGTERM",
    "2": "the command line is wrong",
}
"""What each says."""


_HOW = f"Write -- before the command, as in `{PROGRAM} run nightly -- ./report.sh`."


class _Run(Command):
    """Takes what stands after the first ``--`` as it is: options there are those of the other command."""

    statuses = STATUSES

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line."""
        words = tuple(args[args.index("--") + 1 :]) if "--" in args else ()
        try:
            rest = super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if "--" in args:
                raise
            message = f"{error.message} {_HOW}"  # it may be one of the command to run
            raise click.NoSuchOption(error.option_name, message, error.possibilities, ctx) from None
        if ctx.params["words"] != words and not ctx.resilient_parsing:
            raise click.UsageError(
                f"One election is named before --, and the command to run stands after it. {_HOW}", ctx
            )
        return rest


def _option(*declarations: str, **more: Any) -> Callable[[Callable[..., int]], Callable[..., int]]:
    return click.option(*declarations, cls=Option, **more)


@subcommand("run", "--session-ttl is also how long its session lasts after its last renewal.", _Run)
@election_argument
@click.argument("words", metavar="-- COMMAND...", nargs=-1, type=click.UNPROCESSED, help="what is run, without a shell")
@_option("--candidate", metavar="ID", help="who stands in the election; default: an id of its own")
@_option("--once", is_flag=True, help="end with the first leadership, also when it was lost")
@_option(
    "--restart",
    is_flag=True,
    help="start the command again when it has ended, for as long as this process leads",
)
@_option("--grace", metavar="SECONDS", type=seconds, help="from SIGTERM to SIGKILL; default: a quarter of the ttl")
@_option("--takeover-delay", metavar="SECONDS", type=seconds, help="from election to start; default: none")
@_option("--probe", metavar="HOST:PORT", help="serve /leader, /ready and /live there, over plain HTTP")
@_option("--insecure", is_flag=True, help="serve probes also where other machines get, who may all ask")
@_option("--log-format", type=click.Choice(FORMATS), default="text", show_default=True, help="to stderr")
@client_options
def command(
    *,
    election: str,
    words: tuple[str, ...],
    candidate: str | None,
    once: bool,
    restart: bool,
    grace: float | None,
    takeover_delay: float | None,
    probe: str | None,
    insecure: bool,
    log_format: str,
    where: Where,
) -> int:
    """Run it, and return the exit status."""
    if once and restart:
        raise click.UsageError("--restart: not allowed with --once")
    mode = Mode.ONCE if once else Mode.RESTART if restart else Mode.UNTIL_DONE
    plan = Plan(words, mode, grace, takeover_delay or 0.0)
    Lease(where.session_ttl, grace)  # refuses a grace that cannot fit before anybody is asked
    endpoint = None if probe is None else _probe_endpoint(probe, insecure)
    configure_logging(log_format, "info")
    try:
        return anyio.run(_run, where, election, candidate, plan, endpoint)
    except InvalidRequest:
        raise
    except ElectionError as error:
        say(error)
        return FAILED


def _probe_endpoint(text: str, insecure: bool) -> Endpoint:
    endpoints = parse_endpoints(text, text, lowest_port=0) if re.search(r":[0-9]+$", text) else []
    if len(endpoints) != 1:
        raise InvalidRequest(f"--probe {text!r} is not one address with a port: give HOST:PORT")
    if not endpoints[0].is_loopback and not insecure:
        raise InvalidRequest(
            f"--probe {text} may be reached from other machines, over plain HTTP and without asking who calls: "
            "choose an address on loopback, or say --insecure"
        )
    return endpoints[0]


async def _run(where: Where, name: str, candidate: str | None, plan: Plan, probe: Endpoint | None) -> int:
    connecting = connect(
        where.target,
        namespace=where.namespace,
        session_ttl=where.session_ttl,
        tls=where.tls(),
        token=where.token(),
    )
    async with connecting as client:
        election = client.election(name, candidate_id=candidate)
        runner = Runner(client, election, plan, SystemClock())
        async with AsyncExitStack() as serving:
            if not target_is_given():
                tasks = await serving.enter_async_context(background_tasks())
                tasks.start_soon(_hint, election, runner)
            if probe is not None:
                served = serve_probe(runner.status, election.name, election.candidate_id, probe.host, probe.port)
                runner.note(f"probes are at {await serving.enter_async_context(served)}")
            return await runner.run()
    raise AssertionError("the block returns")


async def _hint(election: LeaderElection, runner: Runner) -> None:
    """Say what may be wrong where nobody answers at the default target; that they may come yet is waited for."""
    try:
        await election.get_term()
    except Unavailable:
        runner.note(NO_TARGET, logging.WARNING)
    except ElectionError:
        pass  # somebody answers
