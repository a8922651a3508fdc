"""Who a call is from, and whether it may go on: what comes over the wire, put to the access rules."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from atomix_election.core.access import ANYBODY, NOBODY, Access, Credentials, Principal, is_open
from atomix_election.errors import Unauthenticated
from atomix_election.rpc.call import namespace_of, token_of
from atomix_election.rpc.http2_connection import Headers
from atomix_election.rpc.methods import Method
from atomix_election.tls import names_in


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call. Equal as long as name and credentials are, whatever its roles become.

    Args:
        principal: who it is.
        name: that of the principal.
        credentials: what it proved that with; None where that was not asked for.
    """

    principal: Principal = field(compare=False)
    name: str
    credentials: Credentials | None


_NOBODY = Caller(NOBODY, NOBODY.name, None)
_ANYBODY = Caller(ANYBODY, ANYBODY.name, Credentials())


@dataclass(frozen=True, slots=True)
class Gate:
    """What a server asks of its callers.

    Args:
        access: the principals; None where whoever gets here may do all.
        needs_certificate: without principals, a caller must have a client certificate.
    """

    access: Access | None = None
    needs_certificate: bool = False

    def admit(self, method: Method, headers: Headers, certificate: Mapping[str, Any]) -> Caller:
        """Return who calls; for a method that is open to anybody, NOBODY, whatever the call carries.

        Raises:
            Unauthenticated: the credentials are missing or bad.
            PermissionDenied: they do not allow the call.
            InvalidRequest: the namespace is given twice.
        """
        if is_open(method.path):
            return _NOBODY
        if self.access is None:
            if self.needs_certificate and not certificate:
                raise Unauthenticated(
                    "this server wants a client certificate: connect with one that its authority has signed"
                )
            return _ANYBODY
        credentials = Credentials.of(token_of(headers), names_in(certificate))
        principal = self.access.authenticate(credentials)
        principal.check(method.path, namespace_of(headers))
        return Caller(principal, principal.name, credentials)

    def check(self, caller: Caller) -> Principal | None:
        """Return what has become of the principal of a caller that was let in before; None when it is not let in."""
        if caller.credentials is None or (self.access is None and caller == _ANYBODY):
            return caller.principal
        return None if self.access is None else self.access.recognise(caller.name, caller.credentials)
