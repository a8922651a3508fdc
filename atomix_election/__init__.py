"""Leader election, in-process or over gRPC, with a fencing token for every leader.

    async with LeaderElection("nightly-report", target="grpc://localhost:5678") as election:
        term = await election.enter()

A lease cannot stop a paused process that believes it leads from writing afterwards. What stops it is the fencing
token (``Term.number``), checked by the resource that it writes to.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from atomix_election.errors import CandidateTaken as CandidateTaken
from atomix_election.errors import ElectionError as ElectionError
from atomix_election.errors import InvalidRequest as InvalidRequest
from atomix_election.errors import LeadershipLost as LeadershipLost
from atomix_election.errors import LimitExceeded as LimitExceeded
from atomix_election.errors import LossReason as LossReason
from atomix_election.errors import NotACandidate as NotACandidate
from atomix_election.errors import NotOwner as NotOwner
from atomix_election.errors import NotSessionOwner as NotSessionOwner
from atomix_election.errors import OutcomeUnknown as OutcomeUnknown
from atomix_election.errors import PermissionDenied as PermissionDenied
from atomix_election.errors import SessionEnded as SessionEnded
from atomix_election.errors import StaleToken as StaleToken
from atomix_election.errors import StoreError as StoreError
from atomix_election.errors import Unauthenticated as Unauthenticated
from atomix_election.errors import Unavailable as Unavailable
from atomix_election.model import CandidateDescription as CandidateDescription
from atomix_election.model import DisplacedDescription as DisplacedDescription
from atomix_election.model import ElectionDescription as ElectionDescription
from atomix_election.model import ElectionSummary as ElectionSummary
from atomix_election.model import Event as Event
from atomix_election.model import EventType as EventType
from atomix_election.model import SessionDescription as SessionDescription
from atomix_election.model import SessionKind as SessionKind
from atomix_election.model import Term as Term

if TYPE_CHECKING:
    from atomix_election.client import Client as Client
    from atomix_election.client import LeaderElection as LeaderElection
    from atomix_election.client import connect as connect
    from atomix_election.engine import ElectionLimits as ElectionLimits
    from atomix_election.leadership import Leadership as Leadership
    from atomix_election.rpc.limits import ConnectionLimits as ConnectionLimits
    from atomix_election.server import ElectionServer as ElectionServer
    from atomix_election.tls import ClientTls as ClientTls
    from atomix_election.tls import ServerTls as ServerTls

__all__ = [
    "CandidateDescription",
    "CandidateTaken",
    "Client",
    "ClientTls",
    "ConnectionLimits",
    "DisplacedDescription",
    "ElectionDescription",
    "ElectionError",
    "ElectionLimits",
    "ElectionServer",
    "ElectionSummary",
    "Event",
    "EventType",
    "InvalidRequest",
    "LeaderElection",
    "Leadership",
    "LeadershipLost",
    "LimitExceeded",
    "LossReason",
    "NotACandidate",
    "NotOwner",
    "NotSessionOwner",
    "OutcomeUnknown",
    "PermissionDenied",
    "ServerTls",
    "SessionDescription",
    "SessionEnded",
    "SessionKind",
    "StaleToken",
    "StoreError",
    "Term",
    "Unauthenticated",
    "Unavailable",
    "connect",
]

_MODULE_OF = {
    "Client": "client",
    "ClientTls": "tls",
    "ConnectionLimits": "rpc.limits",
    "ElectionLimits": "engine",
    "ElectionServer": "server",
    "LeaderElection": "client",
    "Leadership": "leadership",
    "ServerTls": "tls",
    "connect": "client",
}
"""Where the names are that only type checkers import above. A module is imported when one of its names is used for the
first time, as a client needs no server, and no engine when its elections are on one."""


def _find(name: str) -> object:
    """Return what is called so, and keep it (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:
    __getattr__ = _find  # hidden from type checkers, which would then take any name for one of the package
