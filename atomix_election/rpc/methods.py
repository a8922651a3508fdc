"""The methods of the services, as ``proto/`` declares them: a test compares the two, so that none is forgotten.

Those of gRPC's own services, which a server has and no client of ours calls, are in ``standard_methods``.
"""

from dataclasses import dataclass

import betterproto2

from atomix_election.rpc._generated.atomix.election import v1
from atomix_election.rpc._generated.atomix_election import v1 as ours_v1


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


def methods_of(
    service: str, **messages: tuple[type[betterproto2.Message], type[betterproto2.Message]]
) -> dict[str, Method]:
    """Return the methods of a service by their names.

    Args:
        service: its full name.
        messages: for each method the classes of its request and of its response.
    """
    return {name: Method(f"/{service}/{name}", request, response) for name, (request, response) in messages.items()}


ELECTION_METHODS = methods_of(
    "atomix.election.v1.LeaderElection",
    Create=(v1.CreateRequest, v1.CreateResponse),
    Close=(v1.CloseRequest, v1.CloseResponse),
    Enter=(v1.EnterRequest, v1.EnterResponse),
    Withdraw=(v1.WithdrawRequest, v1.WithdrawResponse),
    Anoint=(v1.AnointRequest, v1.AnointResponse),
    Promote=(v1.PromoteRequest, v1.PromoteResponse),
    Evict=(v1.EvictRequest, v1.EvictResponse),
    GetTerm=(v1.GetTermRequest, v1.GetTermResponse),
    Events=(v1.EventsRequest, v1.EventsResponse),
)
"""Each method of the published service by its name."""
SESSION_METHODS = methods_of(
    "atomix_election.v1.Sessions",
    KeepAlive=(ours_v1.KeepAliveRequest, ours_v1.KeepAliveResponse),
    End=(ours_v1.EndRequest, ours_v1.EndResponse),
)
"""Each method of ``atomix_election.v1.Sessions`` by its name."""
INSPECTION_METHODS = methods_of(
    "atomix_election.v1.Inspection",
    List=(ours_v1.ListRequest, ours_v1.ListResponse),
    Describe=(ours_v1.DescribeRequest, ours_v1.DescribeResponse),
)
"""Each method of ``atomix_election.v1.Inspection`` by its name."""
ADMINISTRATION_METHODS = methods_of(
    "atomix_election.v1.Administration",
    Forget=(ours_v1.ForgetRequest, ours_v1.ForgetResponse),
)
"""Each method of ``atomix_election.v1.Administration`` by its name."""
