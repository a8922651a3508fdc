"""A rule of the contract: whatever is done, in whatever order, has the effect that it has on the memory store."""

from collections import defaultdict
from random import Random

from atomix_election.model import ElectionId, SessionId
from atomix_election.stores.base import Record, Store, StoredSession
from atomix_election.stores.memory import MemoryStore
from atomix_election.testing.contract.concurrency import whole_state
from atomix_election.testing.contract.expecting import equal, holds, listed, named
from atomix_election.testing.contract.rules import StoreRules
from atomix_election.testing.contract.stages import Stage

ANYTHING_RULES = StoreRules()

STEPS = 80
"""Calls that are made."""
_NEVER_GIVEN = 10**12
"""A version that nothing has."""
_NAMES = tuple(ElectionId(namespace, name) for namespace in ("a", "a/b") for name in ("e", "E", "b/e"))


@ANYTHING_RULES.on_stage()
async def any_calls_do_what_they_do_to_a_memory_store(stage: Stage) -> None:
    """By chance: writes and forgets with the newest and other versions, sessions that come and go, looks at all."""
    async with stage.open_store() as store:
        twins = _Twins(store, stage.chance)
        for number in range(STEPS):
            await twins.step(f"step {number} of seed {stage.seed}")


class _Twins:
    """A store, and one in memory to which the same is done."""

    def __init__(self, store: Store, chance: Random) -> None:
        self._store = store
        self._model = MemoryStore()
        self._chance = chance
        self._versions: defaultdict[ElectionId, list[int]] = defaultdict(list)
        """The versions that each election has had, the newest last."""
        self._open: dict[SessionId, StoredSession] = {}
        self._writes = 0

    async def step(self, when: str) -> None:
        """Do something to both, and compare."""
        election_id = self._chance.choice(_NAMES)
        steps = [self._write] * 5 + [self._forget] * 2 + [self._open_session, self._end_session]
        await self._chance.choice(steps)(election_id, when)
        for each in (election_id, self._chance.choice(_NAMES)):
            await self._read(each, when)
        await self._look(when)

    async def _write(self, election_id: ElectionId, when: str) -> None:
        expected, in_model = await self._some_version(election_id)
        self._writes += 1
        state = whole_state(self._writes)
        when = f"{when}: {named(election_id)} was written with version {expected}"
        written = await self._store.write(election_id, state, expected=expected)
        is_refused = await self._model.write(election_id, state, expected=in_model) is None
        equal(written is None, is_refused, f"{when}: whether that was refused")
        if written is not None:
            equal(written.election, state, when)
            former = self._versions[election_id]
            holds(written.version not in (0, *former), f"a version that is none of {former}", written.version, when)
            former.append(written.version)

    async def _forget(self, election_id: ElectionId, when: str) -> None:
        expected, in_model = await self._some_version(election_id)
        when = f"{when}: {named(election_id)} was forgotten with version {expected}"
        left = await self._store.forget(election_id, expected=expected)
        equal(left, await self._model.forget(election_id, expected=in_model), when)

    async def _some_version(self, election_id: ElectionId) -> tuple[int, int]:
        """Return the newest version of an election, mostly, or one that it has not; and the same for the twin."""
        record, versions = await self._model.read(election_id), self._versions[election_id]
        if self._chance.random() < 0.75:
            return (versions[-1] if record.version else 0), record.version
        others = [0, *versions[:-1]] if record.version else versions
        return self._chance.choice(others or [_NEVER_GIVEN]), _NEVER_GIVEN

    async def _read(self, election_id: ElectionId, when: str) -> None:
        expected, versions = await self._model.read(election_id), self._versions[election_id]
        newest = Record(expected.election, versions[-1] if expected.version else 0)
        equal(await self._store.read(election_id), newest, f"{when}, and {named(election_id)} was read")
        known = self._store.read_now(election_id)
        if known is not None:
            equal(known, newest, f"{when}, and {named(election_id)} was known at once")

    async def _open_session(self, election_id: ElectionId, when: str) -> None:
        ttl_s, kept_alive = 60.0 + self._chance.randrange(9), self._chance.random() < 0.5
        namespace, owner = election_id
        session = await self._store.open_session(namespace, "s", ttl_s=ttl_s, kept_alive=kept_alive, owner=owner)
        holds(session not in self._open, "a session that was not there", session, f"{when}: a session was opened")
        self._open[session] = StoredSession(session, ttl_s, kept_alive, owner)

    async def _end_session(self, _: ElectionId, __: str) -> None:
        if self._open:
            session = self._chance.choice(list(self._open))
            del self._open[session]
            await self._store.end_session(session)

    async def _look(self, when: str) -> None:
        found = sorted(await listed(self._store), key=lambda each: each[0])
        equal(found, sorted(await listed(self._model)), f"{when}, and all were listed")
        (namespace, after), limit = self._chance.choice(_NAMES), self._chance.randrange(1, 4)
        page = await self._store.page(namespace, after=after, limit=limit)
        expected = await self._model.page(namespace, after=after, limit=limit)
        equal(page, expected, f"{when}, and a page of {limit} was read after {after!r} in {namespace!r}")
        open_ = {each.session: each for each in await self._store.sessions()}
        equal(open_, self._open, f"{when}, and all sessions were listed")
