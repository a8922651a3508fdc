"""What a run is to be, and what it needs to know of the servers that it is about."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from atomix_election.testing.checker import Promises
from tests.crash.load import CALM, PASSING
from tests.soak.clients import Crews
from tests.soak.entrance import Entrance

MEMORY, SQLITE, ETCD = STORES = ("memory", "sqlite", "etcd")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is to be.

    Args:
        store: one of ``STORES``.
        seed: of its choices.
        secured: whether there are TLS and tokens: those of the server, or of etcd.
        ttl_s: time-to-live of clients that stay.
        settle_s: see ``Promises``: half of that, less what it takes to notice a fault and to go elsewhere.
        members: of etcd.
        pause_s: the longest time between two commands of a client.
        quiet_s: how long all is left alone after a fault.
        expiry_slack_s: see ``Promises``.
        library: libfaketime, if wall clocks are to be set; see ``faked_clocks``.
        small_disk: whether the file of a store is to be on a disk of its own, which can be full, where that can be had.

    Raises:
        ValueError: both are wanted.
    """

    store: str
    seed: int
    secured: bool
    ttl_s: float
    settle_s: float
    members: int = 1
    pause_s: float = 0.1
    quiet_s: float = 0.5
    expiry_slack_s: float = 3.0
    library: Path | None = None
    small_disk: bool = False

    def __post_init__(self) -> None:
        if self.library is not None and self.small_disk:
            raise ValueError("the clock of a server whose disk is full cannot be set: leave library or small_disk out")

    def promises(self, longest_failover_s: float, *, early_ends: bool) -> Promises:
        """Return what has to hold then; sessions may end early where the site says so.

        Those versions of etcd may also lose changes around a compaction, so that nobody is told of them in time.
        """
        return Promises(
            calm=CALM,
            forgotten=frozenset(PASSING),
            settle_s=self.settle_s,
            expiry_slack_s=self.expiry_slack_s,
            numbers_jump=self.store == ETCD,
            longest_failover_s=longest_failover_s,
            longest_silence_s=None if early_ends else self.settle_s + self.expiry_slack_s,
            early_ends=early_ends,
        )


class Site(Protocol):
    """The servers of a run, and what is done to them."""

    crews: Crews
    """Their clients."""

    @property
    def early_ends(self) -> bool:
        """Whether sessions may end before their time-to-live is over."""
        ...

    @property
    def entrance(self) -> Entrance:
        """How clients get at them."""
        ...

    @property
    def kinds(self) -> Sequence[str]:
        """What can be done to them."""
        ...

    async def start(self) -> None:
        """Start them and the clients that stay; both may not be ready yet."""
        ...

    async def do(self, kind: str) -> None:
        """Do something to them, and return when all is well again."""
        ...

    async def ready(self) -> None:
        """Wait until they answer."""
        ...

    async def audit(self, latest: float) -> None:
        """See that nothing of anybody is left when a time has come, and end them."""
        ...

    def lines(self) -> list[str]:
        """Return what they are, and more for the report."""
        ...
