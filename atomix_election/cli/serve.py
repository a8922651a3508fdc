"""``atomix-election serve``: run a server until SIGTERM or SIGINT."""

import asyncio
import logging
import re
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import wraps
from typing import Any, NamedTuple

import anyio
import click

from atomix_election import systemd
from atomix_election.addresses import DEFAULT_PORT, Endpoint, parse_endpoints
from atomix_election.cli.etcd_options import EtcdOptions, etcd_options
from atomix_election.cli.frame import Option, subcommand
from atomix_election.cli.limit_options import limit_options, limits_of
from atomix_election.cli.logs import FORMATS, LEVELS, configure_logging
from atomix_election.cli.options import with_options
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

log: logging.Logger = logging.getLogger(__name__)


class _Security(NamedTuple):
    """Who may call: the options of ``_security_options``."""

    certificate: str | None
    key: str | None
    client_ca: str | None
    auth: str | None
    insecure: bool

    def tls(self) -> ServerTls | None:
        if self.certificate:
            return ServerTls(self.certificate, self.key, self.client_ca)
        if self.key or self.client_ca:
            raise InvalidRequest("--key and --client-ca are for TLS, which needs --certificate")
        return None


def _option(*declarations: str, **more: Any) -> Callable[[Callable[..., int]], Callable[..., int]]:
    return click.option(*declarations, cls=Option, **more)


def _security_option(*declarations: str, **more: Any) -> Callable[[Callable[..., int]], Callable[..., int]]:
    return _option(*declarations, section="Who may call", **more)


_SECURITY_OPTIONS = (
    _security_option("--certificate", metavar="FILE", help="speak TLS, with this certificate (PEM)"),
    _security_option("--key", metavar="FILE", help="the key to it, where it is in another file"),
    _security_option("--client-ca", metavar="FILE", help="authorities that sign the certificates of clients"),
    _security_option("--auth", metavar="FILE", help="access file: who may do what"),
    _security_option("--insecure", is_flag=True, help="listen where other machines get, without TLS or without --auth"),
)


def _security_options(function: Callable[..., int]) -> Callable[..., int]:
    @wraps(function)
    def with_security(**values: Any) -> int:
        return function(security=_Security(**{name: values.pop(name) for name in _Security._fields}), **values)

    return with_options(with_security, _SECURITY_OPTIONS)


@subcommand("serve")
@_option(
    "--listen",
    metavar="HOST:PORT",
    default=f"127.0.0.1:{DEFAULT_PORT}",
    show_default=True,
    help="where; port 0 is any that is free",
)
@_option(
    "--store",
    metavar="TARGET",
    default="sqlite:///atomix-election.db",
    show_default=True,
    help="where elections are kept, as it comes in a file of the working directory; memory:// keeps nothing; "
    "etcd://HOST:PORT[,HOST:PORT], or etcds:// for TLS, is shared with other servers",
)
@_option(
    "--session-ttl",
    metavar="SECONDS",
    type=seconds,
    default=DEFAULT_SESSION_TTL_S,
    show_default=True,
    help="how long sessions last by default, and after the last connection of a published client has closed",
)
@_option(
    "--min-session-ttl",
    metavar="SECONDS",
    type=seconds,
    help=f"the shortest time-to-live that a client gets, default {MIN_SESSION_TTL_S:g}",
)
@_option(
    "--max-session-ttl",
    metavar="SECONDS",
    type=seconds,
    help=f"the longest time-to-live that a client gets, default {MAX_SESSION_TTL_S:g}",
)
@_option("--metrics", metavar="HOST:PORT", help="serve metrics for Prometheus there, over plain HTTP; default: nowhere")
@_option(
    "--log-format", type=click.Choice(FORMATS), default="text", show_default=True, help="a line of text or of JSON each"
)
@_option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True, help="the least that is logged")
@_security_options
@etcd_options
@limit_options(ElectionLimits, "Limits of what is kept")
@limit_options(ConnectionLimits, "Limits of connections")
def command(
    *,
    listen: str,
    store: str,
    session_ttl: float,
    min_session_ttl: float | None,
    max_session_ttl: float | None,
    metrics: str | None,
    log_format: str,
    log_level: str,
    security: _Security,
    etcd: EtcdOptions,
    **limits: float,
) -> int:
    """Run it, and return the exit status."""
    configure_logging(log_format, log_level)
    listener = systemd.inherited_socket()
    endpoint = _endpoint("--listen", listen)
    metered = None if metrics is None else _Metrics(_metrics_endpoint(metrics, security.insecure))
    server = ElectionServer(
        store,
        host=endpoint.host,
        port=endpoint.port,
        listener=listener,
        observer=metered.observer if metered else None,
        session_ttl=session_ttl,
        min_session_ttl=min_session_ttl,
        max_session_ttl=max_session_ttl,
        tls=security.tls(),
        access=security.auth,
        store_tls=etcd.tls(),
        store_token=etcd.token(),
        insecure=security.insecure,
        limits=limits_of(limits, ElectionLimits),
        connection_limits=limits_of(limits, ConnectionLimits),
    )
    anyio.run(_serve, server, store, metered)
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
