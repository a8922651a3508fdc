"""Comparisons whose messages say what was expected, what came, and when."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast

import anyio
import anyio.lowlevel

from atomix_election.core.election import Election
from atomix_election.model import ElectionId
from atomix_election.stores.base import Record, Store
from atomix_election.testing.contract.stages import BrokenRule

LONGEST_SHOWN = 400
"""How much is shown of a value."""

_T = TypeVar("_T")


def equal(came: object, expected: object, when: str) -> None:
    """Expect a value. Where only parts of it differ, these are shown.

    Raises:
        BrokenRule: it is another one.
    """
    if came != expected:
        raise BrokenRule(*_differing(expected, came), when)


def one_of(came: _T, allowed: "tuple[_T, ...]", when: str) -> _T:
    """Expect one of several values, and return which one came.

    Raises:
        BrokenRule: it is none of them.
    """
    if came not in allowed:
        raise BrokenRule(" or ".join(map(shown, allowed)), shown(came), when)
    return came


def holds(condition: bool, expected: str, came: object, when: str) -> None:
    """Expect that something is as is said.

    Raises:
        BrokenRule: it is not.
    """
    if not condition:
        raise BrokenRule(expected, shown(came), when)


def done(record: Record | None, when: str) -> Record:
    """Expect that a write or a forget with the newest version was done, and return its record.

    Raises:
        BrokenRule: it was refused.
    """
    if record is None:
        raise BrokenRule("it is done, as the version is the newest one", "None, as if somebody had changed it", when)
    return record


def refused(record: Record | None, when: str) -> None:
    """Expect that a write or a forget was not done, as somebody else has changed the election.

    Raises:
        BrokenRule: it was done.
    """
    if record is not None:
        raise BrokenRule("None, as the version is not the newest one", shown(record), when)


async def put(store: Store, election_id: ElectionId, election: Election, expected: int = 0) -> Record:
    """Write an election that nobody else changes."""
    written = await store.write(election_id, election, expected=expected)
    return done(written, f"{named(election_id)} was written with version {expected}")


async def put_all(store: Store, states: Mapping[ElectionId, Election]) -> dict[ElectionId, Record]:
    """Write elections for the first time, all at the same time."""
    records = dict[ElectionId, Record]()

    async def put_one(election_id: ElectionId, election: Election) -> None:
        records[election_id] = await put(store, election_id, election)

    async with anyio.create_task_group() as tasks:
        for election_id, election in states.items():
            tasks.start_soon(put_one, election_id, election)
    return records


def all_in(namespace: str, names: Iterable[str], election: Election) -> dict[ElectionId, Election]:
    """Return one state for each name."""
    return {ElectionId(namespace, name): election for name in names}


@asynccontextmanager
async def closing(iterator: AsyncIterator[_T]) -> AsyncGenerator[AsyncIterator[_T]]:
    """Give an iterator, and close it in the end if that can be done, as generators want it."""
    try:
        yield iterator
    finally:
        close: Callable[[], Awaitable[None]] | None = getattr(iterator, "aclose", None)
        if close is not None:
            await close()


async def listed(store: Store) -> list[tuple[ElectionId, Election]]:
    """Return what ``elections`` gives."""
    async with closing(store.elections()) as elections:
        return [each async for each in elections]
    raise AssertionError("nothing hides an exception of the block")


async def turns(number: int) -> None:
    """Let others have their turn."""
    for _ in range(number):
        await anyio.lowlevel.checkpoint()


def named(election_id: ElectionId) -> str:
    """Return what an election is called in messages."""
    return f"{election_id.namespace}/{election_id.name}"


def shown(value: object) -> str:
    """Return as much of a value as fits into a message."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}… ({len(text)} characters)"


def _differing(expected: Any, came: Any) -> tuple[str, str]:
    """Return both as text, of values of one class only the parts that differ."""
    names = _parts(expected)
    if type(expected) is not type(came) or not names:
        return shown(expected), shown(came)
    read = cast("Callable[[Any, str], Any]", getattr)
    differing = [name for name in names if read(expected, name) != read(came, name)]
    pairs = [(name, *_differing(read(expected, name), read(came, name))) for name in differing]
    start = f"{type(expected).__name__}("
    return (
        start + ", ".join(f"{name}={one}" for name, one, _ in pairs) + ")",
        start + ", ".join(f"{name}={other}" for name, _, other in pairs) + ")",
    )


def _parts(value: Any) -> tuple[str, ...]:
    if is_dataclass(value):
        return tuple(each.name for each in fields(value) if each.compare)
    return getattr(value, "_fields", ())
