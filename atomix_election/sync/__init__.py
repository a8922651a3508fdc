"""The names of the package for code that is not asynchronous: Django, Celery, cron jobs, notebooks, plain threads.

    with LeaderElection("nightly-report", target="grpc://localhost:5678") as election:
        with election.lead() as leadership:
            write(report, fencing_token=leadership.token)

All of it runs in one event loop in a thread of its own, which is there while any of these objects is in use. A thread
cannot be cancelled: a block that leads is told when the lead is lost, and has to end by itself.
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
from atomix_election.sync.client import Client as Client
from atomix_election.sync.client import LeaderElection as LeaderElection
from atomix_election.sync.client import connect as connect
from atomix_election.sync.events import Events as Events
from atomix_election.sync.leading import Leadership as Leadership
from atomix_election.tls import ClientTls as ClientTls

if TYPE_CHECKING:
    from atomix_election.engine import ElectionLimits as ElectionLimits
    from atomix_election.rpc.limits import ConnectionLimits as ConnectionLimits
    from atomix_election.sync.server import ElectionServer as ElectionServer
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
    "Events",
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
    "ConnectionLimits": "atomix_election.rpc.limits",
    "ElectionLimits": "atomix_election.engine",
    "ElectionServer": "atomix_election.sync.server",
    "ServerTls": "atomix_election.tls",
}
"""Where the names are that a client does not need; each is imported when it is first used, as in the package itself."""


def _find(name: str) -> object:
    """Return what is called so, and keep it (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:
    __getattr__ = _find  # hidden from type checkers, which would then take any name for one of the package
