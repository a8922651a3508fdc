"""What several commands have in common: options that say which election is meant, and how a term is written."""

import argparse
import json
import os
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path

from atomix_election.addresses import DEFAULT_PORT
from atomix_election.cli.values import seconds
from atomix_election.clock import SystemClock
from atomix_election.model import DEFAULT_NAMESPACE, DEFAULT_SESSION_TTL_S, Term
from atomix_election.service import Call, Service
from atomix_election.targets import open_service
from atomix_election.tls import ClientTls

DEFAULT_TARGET = f"grpc://127.0.0.1:{DEFAULT_PORT}"


def add_client_options(parser: argparse.ArgumentParser, *, election: bool = True) -> None:
    """Add the options that say which election is meant, or, without one, where elections are."""
    if election:
        parser.add_argument("election", metavar="ELECTION", help="name of the election")
    add_target_options(parser)
    parser.add_argument(
        "--session-ttl",
        metavar="SECONDS",
        type=seconds,
        default=DEFAULT_SESSION_TTL_S,
        help="how long a server that is silent is waited for, in all, is derived from it; default %(default)s",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")


def add_target_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where elections are, and who calls."""
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
    for option, variable, what in (
        ("--token-file", "ATOMIX_ELECTION_TOKEN_FILE", "file with the token that proves who calls"),
        ("--ca", "ATOMIX_ELECTION_CA", "certificates of the authorities to trust in place of the system's"),
        ("--certificate", "ATOMIX_ELECTION_CERTIFICATE", "certificate to show to the server"),
        ("--key", "ATOMIX_ELECTION_KEY", "the key to it, where it is in another file"),
    ):
        parser.add_argument(
            option, metavar="FILE", default=os.environ.get(variable) or None, help=f"{what} (or {variable})"
        )


def tls_of(options: argparse.Namespace) -> ClientTls | None:
    """Return how TLS is spoken, by the options of ``add_target_options``."""
    if options.ca or options.certificate or options.key:
        return ClientTls(options.ca, options.certificate, options.key)
    return None


def token_of(options: argparse.Namespace) -> Path | None:
    """Return the file of the token that is shown, by the options of ``add_target_options``."""
    return Path(options.token_file) if options.token_file else None


def connecting(options: argparse.Namespace) -> AbstractAsyncContextManager[Service]:
    """Connect as the options of ``add_client_options`` say. It is the bare service: who only looks needs no session."""
    return open_service(
        options.target,
        session_ttl_s=options.session_ttl,
        clock=SystemClock(),
        tls=tls_of(options),
        token=token_of(options),
    )


def call_of(options: argparse.Namespace) -> Call:
    """Return what a call says of the election that the options of ``add_client_options`` name.

    Raises:
        InvalidRequest: its name or its namespace is malformed.
    """
    return Call(options.election, options.namespace)


def utc_time(when: datetime | None) -> str | None:
    """Return a point in time for a program, in ISO 8601 and UTC, to the millisecond."""
    return None if when is None else when.astimezone(UTC).isoformat(timespec="milliseconds")


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
