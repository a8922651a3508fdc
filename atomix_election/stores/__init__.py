"""Where elections and sessions are kept. The adapters do not know each other; ``base`` is what they have in common.

Here are the names that the author of another store needs: ``Store`` says what a store does, ``SharedStore`` what one
does that several engines use at the same time, and the rest is what goes in and comes out. ``docs/stores.md`` shows how
one is written, ``atomix_election.testing.check_store`` tells whether one keeps the contract, and ``ElectionServer``,
``connect`` and ``LeaderElection`` take one in place of a target. ``stores.codec`` has records for what keeps bytes.
"""

from atomix_election.core.election import Displaced as Displaced
from atomix_election.core.election import Election as Election
from atomix_election.core.floors import Floors as Floors
from atomix_election.model import Candidate as Candidate
from atomix_election.model import ElectionId as ElectionId
from atomix_election.model import SessionId as SessionId
from atomix_election.model import Term as Term
from atomix_election.stores.base import NOTHING_ASSUMED as NOTHING_ASSUMED
from atomix_election.stores.base import Change as Change
from atomix_election.stores.base import ElectionChanged as ElectionChanged
from atomix_election.stores.base import Record as Record
from atomix_election.stores.base import SessionGone as SessionGone
from atomix_election.stores.base import SessionOpened as SessionOpened
from atomix_election.stores.base import SharedStore as SharedStore
from atomix_election.stores.base import Store as Store
from atomix_election.stores.base import StoredSession as StoredSession
from atomix_election.stores.base import View as View
from atomix_election.stores.base import Written as Written

__all__ = [
    "NOTHING_ASSUMED",
    "Candidate",
    "Change",
    "Displaced",
    "Election",
    "ElectionChanged",
    "ElectionId",
    "Floors",
    "Record",
    "SessionGone",
    "SessionId",
    "SessionOpened",
    "SharedStore",
    "Store",
    "StoredSession",
    "Term",
    "View",
    "Written",
]
