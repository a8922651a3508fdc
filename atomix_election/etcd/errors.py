"""What can go wrong between this client and etcd: a tree of its own, as this package knows nothing of elections.

    EtcdError
    ├── EtcdUnavailable         no member answered in time; nothing was changed: try again
    ├── EtcdOutcomeUnknown      a write was sent and its answer is lost: read what it would have changed
    ├── EtcdMalformed           an answer is not etcd's: is that an etcd?
    ├── WentBack                the store is older than what was seen of it: stop, and ask the operator
    └── EtcdRefused             etcd said no; nothing was changed
        ├── Compacted           the revision is compacted away: read all, and watch from there
        ├── FutureRevision      the revision is still to come, as far as this member knows
        ├── LeaseNotFound       the lease has expired, or was revoked
        ├── LeaseExists         there is a lease with that id
        ├── EtcdUnauthenticated no user and password, or wrong ones
        └── EtcdPermissionDenied the user may not do that

A call that is made wrongly (an empty list of endpoints, a watch without a revision) raises ValueError.
"""


class EtcdError(Exception):
    """The root of the tree."""


class EtcdUnavailable(EtcdError):
    """No member answered within the time of the call. If the call was a write, nothing was changed."""


class EtcdOutcomeUnknown(EtcdError):
    """A write was sent, and whether it was carried out is not known. It was not repeated."""


class EtcdMalformed(EtcdError):
    """An answer to a read is not what etcd answers."""


class WentBack(EtcdError):
    """The store has fallen behind what was seen of it, as after a restore, or it is another one.

    Args:
        message: what happened, for a person.
        seen_revision: the highest revision that was seen.
        found_revision: the revision that the store has now.
    """

    def __init__(self, message: str, *, seen_revision: int, found_revision: int) -> None:
        super().__init__(message)
        self.seen_revision = seen_revision
        self.found_revision = found_revision


class EtcdRefused(EtcdError):
    """Etcd refused the request, for a reason that has no class of its own here; nothing was changed."""


class Compacted(EtcdRefused):
    """A revision that was asked for, or that a watch has to go on from, is compacted away.

    Args:
        message: what happened, for a person.
        compact_revision: the oldest revision that there still is; 0 where etcd did not say.
    """

    def __init__(self, message: str, *, compact_revision: int = 0) -> None:
        super().__init__(message)
        self.compact_revision = compact_revision


class FutureRevision(EtcdRefused):
    """A read named a revision that the store has not reached."""


class LeaseNotFound(EtcdRefused):
    """There is no such lease: it has expired, or was revoked."""


class LeaseExists(EtcdRefused):
    """A lease was to be granted with an id that another one has."""


class EtcdUnauthenticated(EtcdRefused):
    """Etcd wants a user and password, or did not accept those that it got."""


class EtcdPermissionDenied(EtcdRefused):
    """The user's roles do not allow the call."""
