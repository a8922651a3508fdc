"""The limits that an engine keeps, checked together, and the count of elections."""

from collections import Counter
from dataclasses import dataclass, field, fields

from atomix_election.errors import InvalidRequest, LimitExceeded
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


@dataclass(frozen=True, slots=True)
class ElectionLimits:
    """How much an engine keeps; None for any number. Each field's ``help`` says what it limits.

    Raises:
        InvalidRequest: a limit is not more than 0.
    """

    max_sessions: int | None = field(default=10_000, metadata={"help": "open sessions"})
    max_namespaces: int | None = field(default=1000, metadata={"help": "namespaces that have elections"})
    max_elections: int | None = field(
        default=10_000, metadata={"help": "elections of one namespace that were ever entered or created"}
    )
    max_candidates: int | None = field(default=1000, metadata={"help": "candidates of one election"})
    max_watchers: int | None = field(default=10_000, metadata={"help": "watchers of all elections"})

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None and value < 1:
                raise InvalidRequest(f"{each.name} must be more than 0, not {value}")


NO_LIMITS = ElectionLimits(None, None, None, None, None)
"""For an engine whose callers are all in this process."""


def check_room(name: str, limit: int | None, present: int, what: str) -> None:
    """Refuse one more of what there may be only so many of.

    Args:
        name: of the limit.
        limit: its value; None for any number.
        present: how many there are.
        what: what they are.

    Raises:
        LimitExceeded: there are as many as there may be, or more.
    """
    if limit is not None and present >= limit:
        option = "--" + name.replace("_", "-")
        raise LimitExceeded(
            f"there are {present} {what}, the limit is {limit}: try later, or raise {name} of the server "
            f"(serve {option})",
            limit=name,
        )


class ElectionCount:
    """How many elections were ever written, by namespace.

    Args:
        limits: how many there may be.
    """

    def __init__(self, limits: ElectionLimits) -> None:
        self._limits = limits
        self._written: Counter[str] = Counter()

    def restore(self, namespace: str) -> None:
        """Count an election that is in the store."""
        self._written[namespace] += 1

    def check(self, namespace: str) -> None:
        """Refuse an election that is about to be written for the first time, if there are too many already.

        Raises:
            LimitExceeded: there are.
        """
        if namespace not in self._written:
            check_room("max_namespaces", self._limits.max_namespaces, len(self._written), "namespaces with elections")
        what = f"elections in namespace {namespace!r}"
        check_room("max_elections", self._limits.max_elections, self._written.get(namespace, 0), what)

    def add(self, namespace: str) -> None:
        """Count an election that is about to be written for the first time.

        Raises:
            LimitExceeded: there are too many already.
        """
        self.check(namespace)
        self._written[namespace] += 1

    def remove(self, namespace: str) -> None:
        """It was not written after all."""
        self._written[namespace] -= 1
        if not self._written[namespace]:
            del self._written[namespace]
