"""``atomix-election run``: run a command while this process leads."""

import re
from collections.abc import Sequence
from contextlib import AsyncExitStack

import anyio
import click

from atomix_election.addresses import Endpoint, parse_endpoints
from atomix_election.cli import COMMANDS
from atomix_election.cli.frame import Command, Option, say
from atomix_election.cli.logs import FORMATS, configure_logging
from atomix_election.cli.options import Where, client_options, election_argument
from atomix_election.cli.values import seconds
from atomix_election.client import connect
from atomix_election.clock import SystemClock
from atomix_election.errors import ElectionError, InvalidRequest
from atomix_election.supervise import LOST, Lease, Mode, Plan, Runner, serve_probe

FAILED = 125
"""Exit status where ``run`` itself fails: none of a shell's, and seldom one of a command's."""
STATUSES = {
    "N": "the command ended with it, or 128 and the number of the signal that killed it",
    "2": "the command line is wrong",
    str(LOST): "with --once: the leadership was lost before the command had ended",
    str(FAILED): "run itself failed",
    "126, 127": "the command cannot be run, or is not found",
    "130, 143": "run was sent SIGINT or SIGTERM",
}
"""What each says: other than those of all other commands, as the one that is run has its own."""


class _Run(Command):
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit status"):
            formatter.write_dl(list(STATUSES.items()))


@click.command("run", cls=_Run, help=COMMANDS["run"])
@election_argument
@click.argument("words", metavar="-- COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED, help="what to run")
@click.option("--candidate", cls=Option, metavar="ID", help="who stands in the election; default: an id of its own")
@click.option("--once", cls=Option, is_flag=True, help="end with the first leadership, also when it was lost")
@click.option("--restart", cls=Option, is_flag=True, help="start the command again for as long as it leads")
@click.option(
    "--grace", cls=Option, metavar="SECONDS", type=seconds, help="from SIGTERM to SIGKILL; default: a quarter of the ttl"
)
@click.option(
    "--takeover-delay", cls=Option, metavar="SECONDS", type=seconds, help="from election to start; default: none"
)
@click.option(
    "--probe", cls=Option, metavar="HOST:PORT", help="serve /leader, /ready and /live there, over plain HTTP"
)
@click.option(
    "--insecure", cls=Option, is_flag=True, help="serve probes also where other machines get, who may all ask"
)
@click.option(
    "--log-format",
    cls=Option,
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="a line of text or of JSON each",
)
@client_options
def command(
    *,
    election: str,
    words: Sequence[str],
    where: Where,
    candidate: str | None,
    once: bool,
    restart: bool,
    grace: float | None,
    takeover_delay: float | None,
    probe: str | None,
    insecure: bool,
    log_format: str,
) -> int:
    """Run it, and return the exit status."""
    if once and restart:
        raise InvalidRequest("--once and --restart contradict each other: choose one, or neither")
    mode = Mode.ONCE if once else Mode.RESTART if restart else Mode.UNTIL_DONE
    plan = Plan(words, mode, grace, takeover_delay or 0.0)
    Lease(where.session_ttl, grace)
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
            if probe is not None:
                served = serve_probe(runner.status, name, election.candidate_id, probe.host, probe.port)
                runner.note(f"probes are at {await serving.enter_async_context(served)}")
            return await runner.run()
    raise AssertionError("the block returns")
