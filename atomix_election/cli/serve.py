"""``atomix-election serve``: run a server until SIGTERM or SIGINT."""

import argparse
import asyncio
import logging
import re
import signal
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import anyio

from atomix_election import systemd
from atomix_election.addresses import DEFAULT_PORT, Endpoint, parse_endpoints
from atomix_election.cli.etcd_options import add_etcd_options, etcd_tls, etcd_token
from atomix_election.cli.limit_options import add_limit_options, limits_of
from atomix_election.cli.logs import FORMATS, LEVELS, configure_logging
from atomix_election.cli.values import seconds
from atomix_election.engine import ElectionLimits
from atomix_election.errors import InvalidRequest
from atomix_election.model import DEFAULT_SESSION_TTL_S, MAX_SESSION_TTL_S, MIN_SESSION_TTL_S
from atomix_election.rpc.limits import ConnectionLimits
from atomix_election.rpc.notices import Notices
from atomix_election.server import ElectionServer
from atomix_election.tasks import background_tasks
from atomix_election.tls import ServerTls

_ENDING = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
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
        help="where elections are kept, default %(default)s, a file in the working directory; memory:// keeps nothing; "
        "etcd://HOST:PORT[,HOST:PORT], or etcds:// for TLS, is shared with other servers",
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
    add_etcd_options(parser)
    _add_security_options(parser)
    add_limit_options(parser, ElectionLimits, "limits of what is kept")
    add_limit_options(parser, ConnectionLimits, "limits of connections")
    parser.add_argument(
        "--metrics", metavar="HOST:PORT", help="serve metrics for Prometheus there, over plain HTTP; default: nowhere"
    )
    parser.add_argument("--log-format", choices=FORMATS, default="text", help="default %(default)s")
    parser.add_argument("--log-level", choices=LEVELS, default="info", help="default %(default)s")


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


def run(options: argparse.Namespace) -> int:
    """Run it, and return the exit status."""
    configure_logging(options.log_format, options.log_level)
    listener = systemd.inherited_socket()
    endpoint = _endpoint("--listen", options.listen)
    metrics = None if options.metrics is None else _Metrics(_metrics_endpoint(options.metrics, options.insecure))
    server = ElectionServer(
        options.store,
        host=endpoint.host,
        port=endpoint.port,
        listener=listener,
        observer=metrics.observer if metrics else None,
        session_ttl=options.session_ttl,
        min_session_ttl=options.min_session_ttl,
        max_session_ttl=options.max_session_ttl,
        tls=_tls(options),
        access=options.auth,
        store_tls=etcd_tls(options),
        store_token=etcd_token(options),
        insecure=options.insecure,
        limits=limits_of(options, ElectionLimits),
        connection_limits=limits_of(options, ConnectionLimits),
    )
    anyio.run(_serve, server, options.store, metrics)
    return 0


def _endpoint(option: str, text: str) -> Endpoint:
    endpoints = parse_endpoints(text, text, lowest_port=0)
    if len(endpoints) != 1:
        raise InvalidRequest(f"{option} {text!r} names more than one address")
    return endpoints[0]


def _metrics_endpoint(text: str, insecure: bool) -> Endpoint:
    if not re.search(r":[0-9]+$", text):
        raise InvalidRequest(f"--metrics {text!r} names no port, and metrics have none by default: give HOST:PORT")
    endpoint = _endpoint("--metrics", text)
    if not endpoint.is_loopback and not insecure:
        raise InvalidRequest(
            f"--metrics {text} may be reached from other machines, over plain HTTP and without asking who calls: "
            "choose an address on loopback, or say --insecure"
        )
    return endpoint


class _Metrics:
    """Who counts, and where it is shown. Made only when metrics are asked for, as they need an extra."""

    def __init__(self, endpoint: Endpoint) -> None:
        from atomix_election.metrics import PrometheusObserver, serve_metrics

        self.observer = PrometheusObserver()
        self._endpoint = endpoint
        self._serve = serve_metrics

    def serving(self) -> AbstractAsyncContextManager[str]:
        """Serve them for the length of a block, and give the URL."""
        return self._serve(self.observer, self._endpoint.host, self._endpoint.port)


async def _serve(server: ElectionServer, store: str, metrics: _Metrics | None) -> None:
    if store.startswith("memory://"):
        log.warning(
            "the store %s keeps nothing: elections and their tokens start anew with this process, "
            "and a leader of the former one may act until its lease ends",
            store,
        )
    _notice_exhaustion()
    with anyio.open_signal_receiver(*_ENDING, signal.SIGHUP) as signals:
        async with AsyncExitStack() as running:
            if metrics is not None:
                log.info("metrics are at %s", await running.enter_async_context(metrics.serving()))
            await running.enter_async_context(server)
            tasks = await running.enter_async_context(background_tasks())
            tasks.start_soon(_feed_watchdog)
            print(f"listening on {server.target}", flush=True)
            systemd.notify(systemd.READY)
            async for number in signals:
                if number == signal.SIGHUP:
                    _reload(server)
                    continue
                log.info("%s received, shutting down; once more ends it at once", signal.Signals(number).name)
                for each in _ENDING:
                    signal.signal(each, signal.SIG_DFL)
                systemd.notify(systemd.STOPPING)
                return


def _reload(server: ElectionServer) -> None:
    try:
        server.reload()
    except InvalidRequest as error:
        log.error("SIGHUP received, but not all could be read again; what was there before stays: %s", error)  # noqa: TRY400
    else:
        log.info("SIGHUP received, certificates and access file were read again, as far as there are any")


async def _feed_watchdog() -> None:
    """Tell the service manager that the event loop is alive, twice as often as it wants to hear it."""
    interval_s = systemd.watchdog_interval_s()
    while interval_s is not None:
        systemd.notify(systemd.WATCHDOG)
        await anyio.sleep(interval_s / 2)


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
