"""``atomix-election run``: run a command while this process leads.

Exit statuses are others than those of all other commands, as the one that is run has its own: see ``STATUSES``.
"""

import argparse
import re
import sys
from contextlib import AsyncExitStack

import anyio

from atomix_election.addresses import Endpoint, parse_endpoints
from atomix_election.cli.logs import FORMATS, configure_logging
from atomix_election.cli.options import add_target_options, tls_of, token_of
from atomix_election.cli.values import seconds
from atomix_election.client import connect
from atomix_election.clock import SystemClock
from atomix_election.errors import ElectionError, InvalidRequest
from atomix_election.model import DEFAULT_SESSION_TTL_S
from atomix_election.supervise import LOST, Lease, Mode, Plan, Runner, serve_probe

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes. What stands after ``--`` is the other command, and becomes ``command``."""
    parser.usage = f"{parser.prog} ELECTION [options] -- COMMAND..."
    parser.epilog = f"Exit status: {'; '.join(f'{status}: {what}' for status, what in STATUSES.items())}."
    parser.set_defaults(command=[])
    parser.add_argument("election", metavar="ELECTION", help="name of the election")
    parser.add_argument("--candidate", metavar="ID", help="who stands in the election; default: an id of its own")
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument(
        "--once",
        dest="mode",
        action="store_const",
        const=Mode.ONCE,
        default=Mode.UNTIL_DONE,
        help="end with the first leadership, also when it was lost",
    )
    modes.add_argument(
        "--restart",
        dest="mode",
        action="store_const",
        const=Mode.RESTART,
        default=Mode.UNTIL_DONE,
        help="start the command again when it has ended, for as long as this process leads",
    )
    parser.add_argument(
        "--grace", metavar="SECONDS", type=seconds, help="from SIGTERM to SIGKILL; default: a quarter of the ttl"
    )
    parser.add_argument(
        "--takeover-delay", metavar="SECONDS", type=seconds, default=0.0, help="from election to start; default: none"
    )
    parser.add_argument("--probe", metavar="HOST:PORT", help="serve /leader, /ready and /live there, over plain HTTP")
    parser.add_argument(
        "--insecure", action="store_true", help="serve probes also where other machines get, who may all ask"
    )
    parser.add_argument("--log-format", choices=FORMATS, default="text", help="to stderr; default %(default)s")
    parser.add_argument(
        "--session-ttl",
        metavar="SECONDS",
        type=seconds,
        default=DEFAULT_SESSION_TTL_S,
        help="how long the session lasts after its last renewal; default %(default)s",
    )
    add_target_options(parser)


def run(options: argparse.Namespace) -> int:
    """Run it, and return the exit status."""
    plan = Plan(options.command, options.mode, options.grace, options.takeover_delay)
    Lease(options.session_ttl, options.grace)  # refuses a grace that cannot fit before anybody is asked
    probe = None if options.probe is None else _probe_endpoint(options.probe, options.insecure)
    configure_logging(options.log_format, "info")
    try:
        return anyio.run(_run, options, plan, probe)
    except InvalidRequest:
        raise
    except ElectionError as error:
        print(f"atomix-election: {error}", file=sys.stderr)
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


async def _run(options: argparse.Namespace, plan: Plan, probe: Endpoint | None) -> int:
    connecting = connect(
        options.target,
        namespace=options.namespace,
        session_ttl=options.session_ttl,
        tls=tls_of(options),
        token=token_of(options),
    )
    async with connecting as client:
        election = client.election(options.election, candidate_id=options.candidate)
        runner = Runner(client, election, plan, SystemClock())
        async with AsyncExitStack() as serving:
            if probe is not None:
                served = serve_probe(runner.status, election.name, election.candidate_id, probe.host, probe.port)
                runner.note(f"probes are at {await serving.enter_async_context(served)}")
            return await runner.run()
    raise AssertionError("the block returns")
