"""What several commands have in common: options that say which election is meant, and how a term is written."""

import json
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from atomix_election.addresses import DEFAULT_PORT
from atomix_election.cli.frame import Option
from atomix_election.cli.values import seconds
from atomix_election.clock import SystemClock
from atomix_election.errors import Unavailable
from atomix_election.model import DEFAULT_NAMESPACE, DEFAULT_SESSION_TTL_S, Term, check_metadata_id
from atomix_election.service import Call, Service
from atomix_election.targets import open_service
from atomix_election.tls import ClientTls

DEFAULT_TARGET = f"grpc://127.0.0.1:{DEFAULT_PORT}"
TARGET_VARIABLE = "ATOMIX_ELECTION_TARGET"
NO_TARGET = f"nobody said where the elections are: give --target or {TARGET_VARIABLE}"
"""What is said where nobody answers at the default target."""

_CONNECTION = "Where the elections are"

Function = Callable[..., int]
"""What becomes a command."""


class Where(NamedTuple):
    """Where elections are, and how they are reached: the options of ``client_options``."""

    target: str
    namespace: str
    session_ttl: float
    token_file: str | None
    ca: str | None
    certificate: str | None
    key: str | None

    def call(self, election: str) -> Call:
        """Return what a call says of an election.

        Raises:
            InvalidRequest: its name or its namespace is malformed.
        """
        return Call(election, self.namespace)

    def checked_namespace(self) -> str:
        """Return the namespace.

        Raises:
            InvalidRequest: it is malformed.
        """
        return check_metadata_id("namespace", self.namespace)

    def tls(self) -> ClientTls | None:
        """Return the certificates that the options name."""
        if self.ca or self.certificate or self.key:
            return ClientTls(self.ca, self.certificate, self.key)
        return None

    def token(self) -> Path | None:
        """Return the file with the token that the options name."""
        return Path(self.token_file) if self.token_file else None

    def connecting(self) -> AbstractAsyncContextManager[Service]:
        """Connect. It is the bare service: who only looks needs no session."""
        return open_service(
            self.target, session_ttl_s=self.session_ttl, clock=SystemClock(), tls=self.tls(), token=self.token()
        )


class _Name(Option):
    """An option whose variable counts also when it is empty, which click would pass over: a slip is no default."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Return what the variable says."""
        return os.environ.get(str(self.envvar))


def _client_option(name: str, what: str, cls: type[Option] = Option, **more: Any) -> Callable[[Function], Function]:
    settings: dict[str, Any] = {"show_default": True, "show_envvar": True, **more}
    return click.option(name, cls=cls, section=_CONNECTION, help=what, **settings)


def _file_option(name: str, variable: str, what: str) -> Callable[[Function], Function]:
    return _client_option(name, what, metavar="FILE", envvar=variable)


def with_options(function: Function, options: Iterable[Callable[[Function], Function]]) -> Function:
    """Add options to a function, in the order of help."""
    for option in reversed(list(options)):
        function = option(function)
    return function


def _target_option(otherwise: str | bool) -> Callable[[Function], Function]:
    more: dict[str, Any] = {"envvar": TARGET_VARIABLE, "default": DEFAULT_TARGET, "show_default": otherwise}
    return _client_option("--target", "where the elections are", _Name, **more)


_CLIENT_OPTIONS = (
    _client_option(
        "--namespace", "where names live", _Name, envvar="ATOMIX_ELECTION_NAMESPACE", default=DEFAULT_NAMESPACE
    ),
    _client_option(
        "--session-ttl",
        "how long a server that is silent is waited for, in all, is derived from it",
        metavar="SECONDS",
        type=seconds,
        default=DEFAULT_SESSION_TTL_S,
    ),
    _file_option("--token-file", "ATOMIX_ELECTION_TOKEN_FILE", "file with the token that proves who calls"),
    _file_option("--ca", "ATOMIX_ELECTION_CA", "certificates of the authorities to trust in place of the system's"),
    _file_option("--certificate", "ATOMIX_ELECTION_CERTIFICATE", "certificate to show to the server"),
    _file_option("--key", "ATOMIX_ELECTION_KEY", "the key to it, where it is in another file"),
)

election_argument: Callable[[Function], Function] = click.argument(
    "election", metavar="ELECTION", help="name of the election"
)
json_option: Callable[[Function], Function] = click.option(
    "--json", "as_json", cls=Option, is_flag=True, help="print JSON, one object a line"
)
yes_option: Callable[[Function], Function] = click.option(
    "--yes", cls=Option, is_flag=True, help="do not ask; needed where nobody can be asked"
)


def target_is_given() -> bool:
    """Whether the command line or the variable says where the elections are."""
    return click.get_current_context().get_parameter_source("target") is not ParameterSource.DEFAULT


def client_options(function: Function) -> Function:
    """Add the options that say where elections are; the function gets them as ``where``."""

    @wraps(function)
    def with_hint(**values: Any) -> int:
        try:
            return function(**values)
        except Unavailable as error:
            if not target_is_given():
                error.add_note(NO_TARGET)
            raise

    return _with_where(with_hint, otherwise=True)


def client_options_or(otherwise: str) -> Callable[[Function], Function]:
    """Add the same options to a command that does without a target, as ``target_is_given`` tells it.

    Args:
        otherwise: what it does then.
    """
    return lambda function: _with_where(function, otherwise)


def _with_where(function: Function, otherwise: str | bool) -> Function:
    @wraps(function)
    def with_where(**values: Any) -> int:
        where = Where(**{name: values.pop(name) for name in Where._fields})
        return function(where=where, **values)

    return with_options(with_where, (_target_option(otherwise), *_CLIENT_OPTIONS))


def utc_time(when: datetime | None) -> str | None:
    """Return a point in time for a program, in ISO 8601 and UTC, to the millisecond."""
    return None if when is None else when.astimezone(UTC).isoformat(timespec="milliseconds")


def local_time(when: datetime | None) -> str:
    """Return a point in time for a person, in the time zone of this machine."""
    return "-" if when is None else when.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def term_line(term: Term) -> str:
    """Return a term as one line for people."""
    leader = f"{term.leader} leads" if term.leader else "nobody leads"
    waiting = f", waiting: {', '.join(term.candidates[1:])}" if term.candidates[1:] else ""
    return f"term {term.number} revision {term.revision}  {leader}{waiting}"


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
