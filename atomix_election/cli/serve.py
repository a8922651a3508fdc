"""``atomix-election serve``: run a server until SIGTERM or SIGINT."""

import argparse
import logging
import signal

import anyio

from atomix_election.cli.options import Commands, add_command, seconds
from atomix_election.errors import InvalidRequest
from atomix_election.model import DEFAULT_SESSION_TTL_S, MAX_SESSION_TTL_S, MIN_SESSION_TTL_S
from atomix_election.server import ElectionServer
from atomix_election.targets import DEFAULT_PORT, parse_endpoints
from atomix_election.tls import ServerTls

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
        "--store",
        metavar="TARGET",
        default="sqlite:///atomix-election.db",
        help="where elections are kept, default %(default)s, a file in the working directory; memory:// keeps nothing",
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
    _add_security_options(parser)


def _add_security_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--certificate", metavar="FILE", help="speak TLS, with this certificate (PEM)")
    parser.add_argument("--key", metavar="FILE", help="the key to it, where it is in another file")
    parser.add_argument("--client-ca", metavar="FILE", help="authorities that sign the certificates of clients")
    parser.add_argument("--auth", metavar="FILE", help="access file: who may do what")
    parser.add_argument(
        "--insecure", action="store_true", help="listen where other machines get, without TLS or without --auth"
    )


def _tls(options: argparse.Namespace) -> ServerTls | None:
    if options.certificate:
        return ServerTls(options.certificate, options.key, options.client_ca)
    if options.key or options.client_ca:
        raise InvalidRequest("--key and --client-ca are for TLS, which needs --certificate")
    return None


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
        tls=_tls(options),
        access=options.auth,
        insecure=options.insecure,
    )
    anyio.run(_serve, server, options.store, bool(options.certificate or options.auth))
    return 0


async def _serve(server: ElectionServer, store: str, has_files: bool) -> None:
    if store.startswith("memory://"):
        log.warning(
            "the store %s keeps nothing: elections and their tokens start anew with this process, "
            "and a leader of the former one may act until its lease ends",
            store,
        )
    heard = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP) if has_files else (signal.SIGTERM, signal.SIGINT)
    with anyio.open_signal_receiver(*heard) as signals:
        async with server:
            print(f"listening on {server.target}", flush=True)
            async for number in signals:
                if number != signal.SIGHUP:
                    log.info("%s received, shutting down", signal.Signals(number).name)
                    return
                _reload(server)


def _reload(server: ElectionServer) -> None:
    try:
        server.reload()
    except InvalidRequest as error:
        log.error("SIGHUP received, but not all could be read again; what was there before stays: %s", error)  # noqa: TRY400
    else:
        log.info("SIGHUP received, certificates and access file were read again")
