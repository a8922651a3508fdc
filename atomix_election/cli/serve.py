"""``atomix-election serve``: run a server until SIGTERM or SIGINT."""

import argparse
import logging
import signal

import anyio

from atomix_election.cli.options import Commands, add_command, seconds
from atomix_election.errors import InvalidRequest
from atomix_election.model import DEFAULT_SESSION_TTL_S
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
        help="how long a session lasts after its last connection has closed, default %(default)s",
    )


def _run(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    anyio.run(_serve, options.listen, options.store, options.session_ttl)
    return 0


async def _serve(listen: str, store: str, session_ttl: float) -> None:
    endpoints = parse_endpoints(listen, listen, lowest_port=0)
    if len(endpoints) != 1:
        raise InvalidRequest(f"--listen {listen!r} names more than one address")
    host, port = endpoints[0]
    if store.startswith("memory://"):
        log.warning("the store %s keeps nothing: elections, and their tokens, start anew with this process", store)
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with ElectionServer(store, host=host, port=port, session_ttl=session_ttl) as server:
            print(f"listening on {server.target}", flush=True)
            async for number in signals:
                log.info("%s received, shutting down", signal.Signals(number).name)
                return
