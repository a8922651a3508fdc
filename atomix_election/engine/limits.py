"""The limits that an engine keeps, checked together."""

from dataclasses import dataclass

from atomix_election.errors import InvalidRequest
from atomix_election.model import DEFAULT_SESSION_TTL_S, MAX_SESSION_TTL_S, MIN_SESSION_TTL_S


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Time-to-lives of sessions, in seconds.

    Args:
        min_ttl_s: the least that a client gets.
        default_ttl_s: what a client gets that does not ask, as no published client can.
        max_ttl_s: the most that a client gets.

    Raises:
        InvalidRequest: they contradict each other.
    """

    min_ttl_s: float = MIN_SESSION_TTL_S
    default_ttl_s: float = DEFAULT_SESSION_TTL_S
    max_ttl_s: float = MAX_SESSION_TTL_S

    def __post_init__(self) -> None:
        if not 0 < self.min_ttl_s <= self.default_ttl_s <= self.max_ttl_s:
            raise InvalidRequest(
                f"the default time-to-live of sessions, {self.default_ttl_s:g} s, must lie between the least, "
                f"{self.min_ttl_s:g} s, and the most, {self.max_ttl_s:g} s, and all must be more than 0"
            )

    def ttl_s(self, wanted_s: float | None) -> float:
        """Return what a client gets that would like so much; None for one that does not say."""
        return self.default_ttl_s if wanted_s is None else min(max(wanted_s, self.min_ttl_s), self.max_ttl_s)
