"""Who may do what: principals, how they prove who they are, and the role that each method needs."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType

from atomix_election.errors import PermissionDenied, Unauthenticated


class Role(IntEnum):
    """What a principal may do in a namespace; each role includes those before it."""

    OBSERVE = 1
    """Read terms, watch, and look at who stands."""
    TAKE_PART = 2
    """Have a session, enter elections and leave them."""
    ADMINISTER = 3
    """Change the order of others, and remove them."""


_ELECTION = "/atomix.election.v1.LeaderElection/"
_SESSIONS = "/atomix_election.v1.Sessions/"
_INSPECTION = "/atomix_election.v1.Inspection/"
_ADMINISTRATION = "/atomix_election.v1.Administration/"
_HEALTH = "/grpc.health.v1.Health/"

ROLE_OF_METHOD: Mapping[str, Role | None] = MappingProxyType(
    {
        _ELECTION + "GetTerm": Role.OBSERVE,
        _ELECTION + "Events": Role.OBSERVE,
        _ELECTION + "Create": Role.TAKE_PART,
        _ELECTION + "Close": Role.TAKE_PART,
        _ELECTION + "Enter": Role.TAKE_PART,
        _ELECTION + "Withdraw": Role.TAKE_PART,
        _ELECTION + "Anoint": Role.ADMINISTER,
        _ELECTION + "Promote": Role.ADMINISTER,
        _ELECTION + "Evict": Role.ADMINISTER,
        _SESSIONS + "KeepAlive": Role.TAKE_PART,
        _SESSIONS + "End": Role.TAKE_PART,
        _INSPECTION + "List": Role.OBSERVE,
        _INSPECTION + "Describe": Role.OBSERVE,
        _ADMINISTRATION + "Forget": Role.ADMINISTER,
        _HEALTH + "Check": None,
        _HEALTH + "List": None,
        _HEALTH + "Watch": None,
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": None,
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": None,
    }
)
"""The least role that a method needs, by its path; None for what is open to anybody, without credentials, as it tells
nothing of elections. A method that is not here needs the highest."""

EVERY_NAMESPACE = "*"
"""Stands for all namespaces where a role is given."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who calls: a service, a person, a machine.

    Args:
        name: what its sessions are remembered by; "" is who calls a server that asks nobody.
        roles: its highest role in each namespace, or in EVERY_NAMESPACE.
        token_digests: SHA-256 of each token that proves to be it.
        certificate_names: names in a client certificate that prove to be it, such as ``DNS:node-1.example``.
    """

    name: str
    roles: Mapping[str, Role] = field(default_factory=dict[str, Role])
    token_digests: frozenset[bytes] = field(default=frozenset(), repr=False)
    certificate_names: frozenset[str] = frozenset()

    def may(self, method: str, namespace: str) -> bool:
        """Return whether it may call a method, given by its path, in a namespace."""
        needed = _needed(method)
        return needed is None or self._has(needed, namespace)

    def may_have_session(self, namespace: str) -> bool:
        """Return whether its connections may keep sessions of it open in a namespace."""
        return self._has(Role.TAKE_PART, namespace)

    def _has(self, role: Role, namespace: str) -> bool:
        return any(each >= role for where, each in self.roles.items() if where in (namespace, EVERY_NAMESPACE))

    def check(self, method: str, namespace: str) -> None:
        """Refuse a call that it may not make. What is said depends on nothing but names.

        Raises:
            PermissionDenied: it lacks the role.
        """
        needed = _needed(method)
        if needed is not None and not self.may(method, namespace):
            name = method.rpartition("/")[2]
            raise PermissionDenied(
                f"{self.name} may not call {name} in namespace {namespace!a}: it needs {needed.name.lower()} there. "
                "Who administers the server can add that to its access file"
            )


ANYBODY = Principal("", {EVERY_NAMESPACE: Role.ADMINISTER})
"""Who calls a server that asks for no credentials: it may do all."""
NOBODY = Principal("")
"""Who calls what is open to anybody: it may do nothing else."""


def is_open(method: str) -> bool:
    """Return whether a method, given by its path, is there for anybody, so that credentials are not looked at."""
    return _needed(method) is None


def _needed(method: str) -> Role | None:
    return ROLE_OF_METHOD.get(method, Role.ADMINISTER)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a call shows to prove who makes it. A token goes before a certificate, which then does not count.

    Args:
        token_digest: SHA-256 of the token; None where there is none.
        certificate_names: the names in the connection's client certificate, which was verified already.
    """

    token_digest: bytes | None = field(default=None, repr=False)
    certificate_names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, token: str | None, certificate_names: Iterable[str]) -> "Credentials":
        """Return what a call with this token, on a connection with a certificate of these names, shows."""
        return cls(certificate_names=frozenset(certificate_names)) if token is None else cls(digest_of(token))


@dataclass(frozen=True, slots=True)
class Access:
    """All principals of a server.

    Args:
        principals: each with a name, tokens and names of certificates of its own.
    """

    principals: tuple[Principal, ...]

    def authenticate(self, credentials: Credentials) -> Principal:
        """Return who calls.

        Raises:
            Unauthenticated: nobody, somebody unknown, or several.
        """
        if credentials.token_digest is not None:
            return self._by_token(credentials.token_digest)
        names = credentials.certificate_names
        if not names:
            raise Unauthenticated(
                "the call carries no credentials: send metadata `authorization: Bearer TOKEN`, "
                "or connect with a client certificate"
            )
        found = [each for each in self.principals if each.certificate_names & names]
        if len(found) != 1:
            of = "several principals" if found else "no principal"
            raise Unauthenticated(f"the client certificate is that of {of}, its names are {', '.join(sorted(names))}")
        return found[0]

    def recognise(self, name: str, credentials: Credentials) -> Principal | None:
        """Return the principal that was called so when these credentials proved to be it; None if they do not now."""
        try:
            found = self.authenticate(credentials)
        except Unauthenticated:
            return None
        return found if found.name == name else None

    def _by_token(self, digest: bytes) -> Principal:
        """Find the owner of a token, in a time that does not depend on which one it is or how much of it is right."""
        found: Principal | None = None
        for principal in self.principals:
            for known in principal.token_digests:
                if hmac.compare_digest(known, digest):
                    found = principal
        if found is None:
            raise Unauthenticated("the token is not known to this server: it may have been replaced or mistyped")
        return found


def digest_of(token: str) -> bytes:
    """Return what is kept of a token. One made by chance cannot be found from it, so that no slow hash is needed."""
    return hashlib.sha256(token.encode()).digest()
