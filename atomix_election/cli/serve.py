"""``atomix-election serve``: run a server until SIGTERM or SIGINT."""

import argparse
import asyncio
import logging
import signal
from typing import Any

import anyio

from atomix_election.cli.options import Commands, add_command, add_limit_options, limits_of, seconds
from atomix_election.engine import ElectionLimits
from atomix_election.errors import InvalidRequest
from atomix_election.model import DEFAULT_SESSION_TTL_S, MAX_SESSION_TTL_S, MIN_SESSION_TTL_S
from atomix_election.rpc.limits import ConnectionLimits
from atomix_election.rpc.notices import Notices
from atomix_election.server import ElectionServer
from atomix_election.targets import DEFAULT_PORT, parse_endpoints

log = logging.getLogger(__name__)


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(commands, "serve", "Serve elections over gRPC until SIGTERM or SIGINT.", _run)
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        default=f"127.0.0.1:{DEFAULT_PORT}",
        help="default %(default)s; port 0: any free",
    )
    parser.add_argument(
        "--store", metavar="TARGET", default="memory://", help="where elections are kept, default %(default)s"
    )
    parser.add_argument(
        "--session-ttl",
        metavar="SECONDS",
        type=seconds,
        default=DEFAULT_SESSION_TTL_S,
        help="how long sessions last by default, and after the last connection of a published client has closed",
    )
    parser.add_argument("--min-session-ttl", metavar="SECONDS", type=seconds, help=f"default {MIN_SESSION_TTL_S:g}")
    parser.add_argument("--max-session-ttl", metavar="SECONDS", type=seconds, help=f"default {MAX_SESSION_TTL_S:g}")
    add_limit_options(parser, ElectionLimits, "limits of what is kept")
    add_limit_options(parser, ConnectionLimits, "limits of connections")


def _run(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    endpoints = parse_endpoints(options.listen, options.listen, lowest_port=0)
    if len(endpoints) != 1:
        raise InvalidRequest(f"--listen {options.listen!r} names more than one address")
    server = ElectionServer(
        options.store,
        host=endpoints[0].host,
        port=endpoints[0].port,
        session_ttl=options.session_ttl,
        min_session_ttl=options.min_session_ttl,
        max_session_ttl=options.max_session_ttl,
        limits=limits_of(options, ElectionLimits),
        connection_limits=limits_of(options, ConnectionLimits),
    )
    anyio.run(_serve, server, options.store)
    return 0


async def _serve(server: ElectionServer, store: str) -> None:
    if store.startswith("memory://"):
        log.warning(
            "the store %s keeps nothing: elections and their tokens start anew with this process, "
            "and a leader of the former one may act until its lease ends",
            store,
        )
    _notice_exhaustion()
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with server:
            print(f"listening on {server.target}", flush=True)
            async for number in signals:
                log.info("%s received, shutting down", signal.Signals(number).name)
                return


def _notice_exhaustion() -> None:
    """Say seldom that no file descriptor is left for a new connection.

    asyncio stops accepting for a second and tries again, but it reports that a hundred times each second.
    """
    loop, notices = asyncio.get_running_loop(), Notices(log, logging.WARNING)

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if context.get("message") == "socket.accept() out of system resource":
            error = context.get("exception")
            notices.write(
                f"no connection can be accepted: {error}; raise the limit of open files, or lower --max-connections",
                now=loop.time(),
            )
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)
