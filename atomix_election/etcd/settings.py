"""How a client reaches etcd, and how long it waits; checked together."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from atomix_election.etcd.values import Endpoint
from atomix_election.tasks import LONGEST_PAUSE_S
from atomix_election.tls import ClientTls


@dataclass(frozen=True, slots=True)
class Settings:
    """How to reach etcd, and how long to wait.

    Args:
        endpoints: where its members are.
        tls: how to speak to them; None for plain text.
        user: who calls; "" for nobody in particular.
        password: that user's.
        call_timeout_s: how long a call may take with all its tries, unless it says otherwise.
        attempt_timeout_s: how long one try may take, connecting included; no more than a member's share of the call's
            time, so that others have their turn. A proposal that is lost when etcd's leader changes is never answered.
        longest_pause_s: the most between two rounds of tries.
        chance: returns numbers from 0 to 1.
    """

    endpoints: Sequence[Endpoint]
    tls: ClientTls | None = None
    user: str = ""
    password: str = field(default="", repr=False)
    call_timeout_s: float = 5.0
    attempt_timeout_s: float = 1.0
    longest_pause_s: float = LONGEST_PAUSE_S
    chance: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise ValueError("etcd needs at least one endpoint, as in 127.0.0.1:2379")
        if self.password and not self.user:
            raise ValueError("there is a password for etcd, but no user that it belongs to")
        if min(self.call_timeout_s, self.attempt_timeout_s, self.longest_pause_s) <= 0:
            raise ValueError(
                f"call_timeout_s ({self.call_timeout_s:g}), attempt_timeout_s ({self.attempt_timeout_s:g}) and "
                f"longest_pause_s ({self.longest_pause_s:g}) must be more than 0"
            )
