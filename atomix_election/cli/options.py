"""What several commands have in common: options, and how a term is written."""

import argparse
import json
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from atomix_election.client import Client, connect
from atomix_election.clock import wall_clock_s
from atomix_election.core.floors import time_of_ms
from atomix_election.model import DEFAULT_NAMESPACE, DEFAULT_SESSION_TTL_S, Term
from atomix_election.targets import DEFAULT_PORT, open_etcd
from atomix_election.tls import ClientTls

if TYPE_CHECKING:
    from atomix_election.etcd import EtcdClient

_LimitsT = TypeVar("_LimitsT")

Run = Callable[[argparse.Namespace], int]

DEFAULT_TARGET = f"grpc://127.0.0.1:{DEFAULT_PORT}"


class Commands(Protocol):
    """What argparse's sub-parsers are used for."""

    def add_parser(self, name: str, *, help: str, description: str) -> argparse.ArgumentParser:  # noqa: A002
        """Add a command."""
        ...


def add_command(commands: Commands, name: str, what: str, run: Run) -> argparse.ArgumentParser:
    """Add a command and return the parser of its arguments."""
    parser = commands.add_parser(name, help=what, description=what)
    parser.set_defaults(run=run)
    return parser


def add_client_options(parser: argparse.ArgumentParser, *, election: bool = True) -> None:
    """Add the options that say which election is meant, or, without one, where elections are."""
    if election:
        parser.add_argument("election", metavar="ELECTION", help="name of the election")
    parser.add_argument(
        "--target",
        default=os.environ.get("ATOMIX_ELECTION_TARGET", DEFAULT_TARGET),
        help="where the elections are (or ATOMIX_ELECTION_TARGET; default %(default)s)",
    )
    parser.add_argument(
        "--namespace",
        default=os.environ.get("ATOMIX_ELECTION_NAMESPACE", DEFAULT_NAMESPACE),
        help="where the name lives (or ATOMIX_ELECTION_NAMESPACE; default %(default)s)",
    )
    parser.add_argument(
        "--session-ttl",
        metavar="SECONDS",
        type=seconds,
        default=DEFAULT_SESSION_TTL_S,
        help="how long a server that is silent is waited for, in all, is derived from it; default %(default)s",
    )
    for option, variable, what in (
        ("--token-file", "ATOMIX_ELECTION_TOKEN_FILE", "file with the token that proves who calls"),
        ("--ca", "ATOMIX_ELECTION_CA", "certificates of the authorities to trust in place of the system's"),
        ("--certificate", "ATOMIX_ELECTION_CERTIFICATE", "certificate to show to the server"),
        ("--key", "ATOMIX_ELECTION_KEY", "the key to it, where it is in another file"),
    ):
        parser.add_argument(
            option, metavar="FILE", default=os.environ.get(variable) or None, help=f"{what} (or {variable})"
        )
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")


def connecting(options: argparse.Namespace) -> AbstractAsyncContextManager[Client]:
    """Connect as the options of ``add_client_options`` say."""
    tls = None
    if options.ca or options.certificate or options.key:
        tls = ClientTls(options.ca, options.certificate, options.key)
    return connect(
        options.target,
        namespace=options.namespace,
        session_ttl=options.session_ttl,
        tls=tls,
        token=Path(options.token_file) if options.token_file else None,
    )


def add_etcd_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how etcd is spoken to."""
    for option, what in (
        ("--store-ca", "authorities to trust for an etcds:// store, in place of the system's"),
        ("--store-certificate", "certificate to show to etcd"),
        ("--store-key", "the key to it, where it is in another file"),
        ("--store-token-file", "file with USER:PASSWORD for etcd"),
    ):
        parser.add_argument(option, metavar="FILE", help=what)


def add_etcd_target(parser: argparse.ArgumentParser) -> None:
    """Add the argument that says which store in etcd is meant, and the options of ``add_etcd_options``."""
    what = "the store: etcd://HOST:PORT[,HOST:PORT][/PREFIX], or etcds:// for TLS"
    parser.add_argument("store", metavar="ETCD_TARGET", help=what)
    add_etcd_options(parser)


def etcd_tls(options: argparse.Namespace) -> ClientTls | None:
    """Return the certificates for etcd that the options name."""
    if options.store_ca or options.store_certificate or options.store_key:
        return ClientTls(options.store_ca, options.store_certificate, options.store_key)
    return None


def etcd_token(options: argparse.Namespace) -> Path | None:
    """Return the file with user and password for etcd that the options name."""
    return Path(options.store_token_file) if options.store_token_file else None


def opening_etcd(options: argparse.Namespace) -> "AbstractAsyncContextManager[tuple[EtcdClient, str]]":
    """Open etcd as the options of ``add_etcd_target`` say, and give a client and the prefix of the store."""
    return open_etcd(options.store, tls=etcd_tls(options), token=etcd_token(options))


def seconds(text: str) -> float:
    """Return a number of seconds, for argparse."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def add_limit_options(parser: argparse.ArgumentParser, kind: type[Any], title: str) -> None:
    """Add an option for each field of a class of limits; the field says what it limits."""
    group = parser.add_argument_group(title)
    for each in fields(kind):
        is_time = each.name.endswith("_s")
        group.add_argument(
            limit_option(each.name),
            dest=each.name,
            metavar="SECONDS" if is_time else "N",
            type=seconds if is_time else at_least_one,
            default=each.default,
            help=f"{each.metadata['help']}, default %(default)s",
        )


def limit_option(name: str) -> str:
    """Return the option for a limit of that name."""
    return "--" + name.removesuffix("_s").replace("_", "-")


def limits_of(options: argparse.Namespace, kind: type[_LimitsT]) -> _LimitsT:
    """Return the limits that the options say."""
    names: list[str] = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: getattr(options, name) for name in names})


def at_least_one(text: str) -> int:
    """Return a number, for argparse."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def utc_time(when: datetime | None) -> str | None:
    """Return a point in time for a program, in ISO 8601 and UTC, to the millisecond."""
    return None if when is None else when.astimezone(UTC).isoformat(timespec="milliseconds")


def ahead_until(number: int) -> str | None:
    """Return until when tokens above a number are ahead of the clock, for a person; None if they are not."""
    if time_of_ms(number) <= (wall_clock_s() + 1) * 1000:
        return None
    return datetime.fromtimestamp(time_of_ms(number) / 1000, UTC).isoformat(timespec="seconds")


def local_time(when: datetime | None) -> str:
    """Return a point in time for a person, in the time zone of this machine."""
    return "-" if when is None else when.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def term_json(election: str, term: Term, **more: str) -> str:
    """Return a term as one line of JSON."""
    return json.dumps(
        {
            **more,
            "election": election,
            "leader": term.leader,
            "candidates": list(term.candidates),
            "number": term.number,
            "revision": term.revision,
        }
    )
