"""The methods of the services, read from the generated code, so that none is forgotten."""

from dataclasses import dataclass
from typing import Any, cast

import betterproto2

from atomix_election.rpc._generated.atomix.election import v1
from atomix_election.rpc._generated.atomix_election import v1 as ours_v1
from atomix_election.rpc._generated.grpc.health import v1 as health_v1
from atomix_election.rpc._generated.grpc.reflection import v1 as reflection_v1
from atomix_election.rpc._generated.grpc.reflection import v1alpha as reflection_v1alpha


@dataclass(frozen=True, slots=True)
class Method:
    """One method as the wire sees it.

    Args:
        path: what the request asks for, ``/package.Service/Method``.
        request: class of the message that is sent.
        response: class of the message, or messages, that come back.
    """

    path: str
    request: type[betterproto2.Message]
    response: type[betterproto2.Message]

    @property
    def service(self) -> str:
        """The full name of the service."""
        return self.path.split("/")[1]

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


def _read_methods(service: Any) -> dict[str, Method]:
    mapping = cast(dict[str, Any], service.__mapping__())
    methods = [Method(path, handler.request_type, handler.reply_type) for path, handler in mapping.items()]
    return {method.name: method for method in methods}


ELECTION_METHODS = _read_methods(v1.LeaderElectionBase())
"""Each method of ``atomix.election.v1.LeaderElection`` by its name."""
SESSION_METHODS = _read_methods(ours_v1.SessionsBase())
"""Each method of ``atomix_election.v1.Sessions`` by its name."""
INSPECTION_METHODS = _read_methods(ours_v1.InspectionBase())
"""Each method of ``atomix_election.v1.Inspection`` by its name."""
ADMINISTRATION_METHODS = _read_methods(ours_v1.AdministrationBase())
"""Each method of ``atomix_election.v1.Administration`` by its name."""
HEALTH_METHODS = _read_methods(health_v1.HealthBase())
"""Each method of ``grpc.health.v1.Health`` by its name."""
REFLECTION_METHOD = _read_methods(reflection_v1.ServerReflectionBase())["ServerReflectionInfo"]
"""The one method of ``grpc.reflection.v1.ServerReflection``, and
that of its predecessor ``v1alpha``, which many tools still use."""
REFLECTION_ALPHA_METHOD = _read_methods(reflection_v1alpha.ServerReflectionBase())["ServerReflectionInfo"]
