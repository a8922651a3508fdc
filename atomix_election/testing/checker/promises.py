"""What the promises amount to in one run, and what of it was recorded."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Promises:
    """What is to hold in a history. The defaults are for one store, all of whose clients are recorded.

    Where a store was lost with its server (``Emptied``), it holds within the time of each store, and nothing holds from
    one to the next: tokens begin anew, and a leader by the former store may act until it hears of that, or its lease
    ends.

    Args:
        calm: elections in which nobody moves or removes another's candidate, and no operator takes the lead away.
        forgotten: elections that are forgotten now and then by somebody who is not recorded, and so may go on from the
            floor of their namespace.
        settle_s: how long a server is up until each client has been answered a renewal by it.
        expiry_slack_s: how much later than one time-to-live the end of a session may come, on this machine.
        numbers_jump: whether the number of a new term may be any higher one, and not only the next: so in etcd, and
            after a migration or a restore.
        longest_failover_s: how long a takeover may take at most, as the servers announce it; None if it is not known,
            and then nobody has to lead.
        longest_silence_s: how long after a change a watcher that waits is told of it, or of a newer one, at most, where
            nothing is done to anybody; None if that is not known, and then it may be told at any time, or never.
        early_ends: whether sessions may end before their time-to-live is over, as those in an etcd whose stale leaders
            end them.
        others: whether there are clients that are not recorded. Then nothing can be said of what nobody asked for.
        late_copies: whether a write that carries a number may arrive more than once, and so be carried out after it was
            refused: over a network that is retried on. In one process it cannot.
    """

    calm: frozenset[str] = frozenset()
    forgotten: frozenset[str] = frozenset()
    settle_s: float = 1.5
    expiry_slack_s: float = 2.0
    numbers_jump: bool = False
    longest_failover_s: float | None = None
    longest_silence_s: float | None = None
    early_ends: bool = False
    others: bool = False
    late_copies: bool = True
