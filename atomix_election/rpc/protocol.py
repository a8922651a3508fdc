"""Which version of our own services two sides speak. The published service has none, and knows nothing of this.

A client says with each call which versions it speaks, ``1`` or ``1-3``; the server takes the newest that it speaks too,
and names it in its answer. Where they have none in common, whoever notices says so by name. So old and new clients and
servers work side by side as long as a release speaks the version of the release before.

A new version is needed where the meaning of what is there changes. Fields and methods that are added need none: unknown
fields are passed over, and a missing method is refused by name.
"""

import re
from typing import NamedTuple

from atomix_election.errors import InvalidRequest
from atomix_election.rpc.call import PROTOCOL_KEY
from atomix_election.rpc.methods import Method

_OURS = "/atomix_election."
_OFFER = re.compile(r"([1-9][0-9]{0,8})(?:-([1-9][0-9]{0,8}))?")
_UNSAID = 1
"""The version of those who do not say: peers of other makes, and releases from before there was a second one."""


class Versions(NamedTuple):
    """The versions that somebody speaks: from the oldest to the newest, without a gap."""

    oldest: int
    newest: int

    def __str__(self) -> str:
        return f"{self.oldest}" if self.oldest == self.newest else f"{self.oldest}-{self.newest}"


SPOKEN = Versions(1, 1)
"""What this release speaks."""


def is_ours(method: Method) -> bool:
    """Return whether a method belongs to a service of our own."""
    return method.path.startswith(_OURS)


def agree(offered: str) -> int:
    """Return the version that a server speaks with a client.

    Args:
        offered: what the client has said; "" where it has said nothing.

    Raises:
        InvalidRequest: they have none in common, or that is no version.
    """
    theirs = _versions(offered) if offered else Versions(_UNSAID, _UNSAID)
    version = min(theirs.newest, SPOKEN.newest)
    if version < max(theirs.oldest, SPOKEN.oldest):
        raise InvalidRequest(
            f"the client speaks version {theirs} of the protocol atomix_election, and this server {SPOKEN}: update the "
            f"{'server' if theirs.oldest > SPOKEN.newest else 'client'}, or use an older one of the other"
        )
    return version


def check_agreed(said: str, server: str) -> None:
    """Refuse the answer of a server in a version that this client does not speak.

    Args:
        said: the version that the server has named; "" where it has named none.
        server: who it is, for the message.

    Raises:
        InvalidRequest: it is not one of ours, or no version.
    """
    theirs = _versions(said) if said else Versions(_UNSAID, _UNSAID)
    if not SPOKEN.oldest <= theirs.oldest == theirs.newest <= SPOKEN.newest:
        raise InvalidRequest(
            f"the server {server} speaks version {theirs} of the protocol atomix_election, and this client {SPOKEN}: "
            f"update the {'client' if theirs.newest > SPOKEN.newest else 'server'}, or use an older one of the other"
        )


def _versions(said: str) -> Versions:
    match = _OFFER.fullmatch(said)
    versions = Versions(int(match[1]), int(match[2] or match[1])) if match else Versions(1, 0)
    if versions.oldest > versions.newest:
        raise InvalidRequest(f"metadata {PROTOCOL_KEY} {said!a} is no version, such as 1, and no range, such as 1-3")
    return versions
