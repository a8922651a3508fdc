"""Bugs of servers that share an etcd, planted one at a time: ``python -m tests.simulation.planted_etcd NAME FIRST``.

A process of its own, so that the order of sets of strings, which is part of a run, is the same each time.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from atomix_election.engine import engine
from atomix_election.engine.shared_lanes import Facts
from atomix_election.errors import StoreError
from atomix_election.etcd import Compare, Header, KeyValue, Relation, Target, TxnResult
from atomix_election.model import ElectionId, SessionId
from atomix_election.stores import etcd_access, etcd_writes
from atomix_election.stores.base import Record
from atomix_election.stores.etcd import EtcdStore
from atomix_election.stores.etcd_access import Access
from atomix_election.stores.etcd_mirror import Mirror, News
from atomix_election.stores.etcd_reads import Reads
from atomix_election.stores.etcd_sessions import Sessions
from atomix_election.stores.etcd_writes import Writes
from atomix_election.testing import etcd_host
from atomix_election.testing.simulation import Outcome, simulate

MINUTES_EACH = 0.5
"""Virtual minutes of faults in one run."""
WITHIN = 25
"""A planted bug is found within so many seeds."""


def _always(key: bytes, _: int) -> Compare:
    """A condition that holds whatever there is."""
    return Compare(key, Target.VERSION, Relation.GREATER, -1)


def _nobody_is_kept_alive(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Facts, "is_kept_alive", lambda *_: False)


def _terms_are_read_from_the_cache(patch: pytest.MonkeyPatch) -> None:
    async def read(self: EtcdStore, election_id: ElectionId) -> Record:
        return self.latest(election_id)

    patch.setattr(EtcdStore, "read", read)


def _versions_are_not_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(etcd_writes, "unchanged", _always)


def _sessions_are_not_compared(patch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> list[Compare]:
        return []

    patch.setattr(Writes, "_conditions", nothing)


def _unknown_is_done(patch: pytest.MonkeyPatch) -> None:
    find_out = Writes._try

    async def believe(self: Writes, *arguments: Any) -> Any:
        done = await find_out(self, *arguments)
        return TxnResult(Header(0, 0, self._mirror.revision + 1, 0), True, ()) if done is None else done

    patch.setattr(Writes, "_try", believe)


def _unknown_is_not_done(patch: pytest.MonkeyPatch) -> None:
    find_out = Writes._try

    async def disbelieve(self: Writes, *arguments: Any) -> Any:
        done = await find_out(self, *arguments)
        if done is None:
            raise StoreError("nothing was changed")
        return done

    patch.setattr(Writes, "_try", disbelieve)


def _own_writes_are_not_looked_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(etcd_writes, "_became_of", lambda *_, **__: None)


def _compaction_is_no_change(patch: pytest.MonkeyPatch) -> None:
    differences = Mirror.all_news

    def none(self: Mirror, revision: int, items: Sequence[KeyValue]) -> News:
        return News(revision, (), {}, {}) if self.revision else differences(self, revision, items)

    patch.setattr(Mirror, "all_news", none)


def _leases_are_too_short(patch: pytest.MonkeyPatch) -> None:
    grant = Sessions._grant

    async def half(self: Sessions, lease_id: int, ttl_s: int, tries: Any) -> None:
        await grant(self, lease_id, max(ttl_s // 2, 1), tries)

    patch.setattr(Sessions, "_grant", half)


def _the_displaced_are_not_waited_for_long_enough(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(engine, "waits_until", lambda since, ttl_s: since + ttl_s / 5)


def _a_restore_ignores_the_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(etcd_host, "restored_floors", lambda known, _: known)


def _a_store_that_went_back_is_not_noticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Access, "_check_header", lambda *_: None)
    patch.setattr(Access, "check_identity", lambda *_: None)
    patch.setattr(etcd_access, "unchanged", _always)


def _what_has_no_effect_is_not_confirmed(patch: pytest.MonkeyPatch) -> None:
    async def confirm(*_: object, **__: object) -> bool:
        return True

    patch.setattr(Reads, "confirm", confirm)


def _leadership_is_granted_from_an_old_view(patch: pytest.MonkeyPatch) -> None:
    async def renew(self: Sessions, session: SessionId) -> bool:
        place = (await self.find([session]))[session]
        return place is not None and bool((await self._access.etcd.keep_alive(place.lease)).ttl_s)

    patch.setattr(Sessions, "renew", renew)


def _renewals_by_deposed_leaders_count(patch: pytest.MonkeyPatch) -> None:
    async def renew(self: Sessions, session: SessionId) -> bool:
        place = (await self.find([session]))[session]
        if place is None:
            return False
        lease = await self._access.call(self._access.etcd.keep_alive(place.lease))
        await self._progress.catch_up()
        return bool(lease.ttl_s) and not self._mirror.is_gone(session)

    patch.setattr(Sessions, "renew", renew)


def _an_opening_that_is_given_up_is_taken_back(patch: pytest.MonkeyPatch) -> None:
    put = Sessions._put

    async def put_or_revoke(self: Sessions, opening: Any, *arguments: Any) -> Any:
        try:
            return await put(self, opening, *arguments)
        except BaseException:
            self._background.start_soon(self._give_back, opening.lease_id)
            raise

    patch.setattr(Sessions, "_put", put_or_revoke)


def _nobody_is_swept(patch: pytest.MonkeyPatch) -> None:
    async def not_at_all(*_: object) -> None: ...

    patch.setattr(engine.Engine, "_expire", not_at_all)


PLANTS: Mapping[str, Callable[[pytest.MonkeyPatch], None]] = {
    plant.__name__.strip("_"): plant
    for plant in (
        _nobody_is_kept_alive,
        _terms_are_read_from_the_cache,
        _versions_are_not_compared,
        _sessions_are_not_compared,
        _unknown_is_done,
        _unknown_is_not_done,
        _own_writes_are_not_looked_for,
        _compaction_is_no_change,
        _leases_are_too_short,
        _the_displaced_are_not_waited_for_long_enough,
        _a_restore_ignores_the_clock,
        _a_store_that_went_back_is_not_noticed,
        _what_has_no_effect_is_not_confirmed,
        _leadership_is_granted_from_an_old_view,
        _renewals_by_deposed_leaders_count,
        _an_opening_that_is_given_up_is_taken_back,
        _nobody_is_swept,
    )
}


def search(name: str, first: int, seeds: int = WITHIN) -> Iterator[Outcome]:
    """Run one seed after the other with a bug, and return those that break a rule."""
    with pytest.MonkeyPatch.context() as patch:
        PLANTS[name](patch)
        for seed in range(first, first + seeds):
            outcome = simulate(seed, MINUTES_EACH, "etcd")
            if outcome.violation is not None:
                yield outcome


def main() -> int:
    """Say which seed finds it first, and what is broken."""
    found = next(search(sys.argv[1], int(sys.argv[2])), None)
    sys.stdout.write("not found\n" if found is None else f"seed {found.seed}: {found.violation}\n")
    return found is None


if __name__ == "__main__":
    sys.exit(main())
