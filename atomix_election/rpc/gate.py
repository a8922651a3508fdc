"""Who a call is from, and whether it may go on: what comes over the wire, put to the access rules."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atomix_election.core.access import ANYBODY, NOBODY, Access, Principal, is_open
from atomix_election.errors import Unauthenticated
from atomix_election.rpc.call import namespace_of, token_of
from atomix_election.rpc.http2 import Headers
from atomix_election.rpc.methods import Method
from atomix_election.tls import names_in


@dataclass(frozen=True, slots=True)
class Gate:
    """What a server asks of its callers.

    Args:
        access: the principals; None where whoever gets here may do all.
        needs_certificate: without principals, a caller must have a client certificate.
    """

    access: Access | None = None
    needs_certificate: bool = False

    def admit(self, method: Method, headers: Headers, certificate: Mapping[str, Any]) -> Principal:
        """Return who calls; for a method that is open to anybody, NOBODY, whatever the call carries.

        Raises:
            Unauthenticated: the credentials are missing or bad.
            PermissionDenied: they do not allow the call.
            InvalidRequest: the namespace is given twice.
        """
        if is_open(method.path):
            return NOBODY
        if self.access is None:
            if self.needs_certificate and not certificate:
                raise Unauthenticated(
                    "this server wants a client certificate: connect with one that its authority has signed"
                )
            return ANYBODY
        principal = self.access.authenticate(token_of(headers), names_in(certificate))
        principal.check(method.path, namespace_of(headers))
        return principal
