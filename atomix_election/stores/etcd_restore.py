"""What an operator does to a store in etcd: raise the tokens, confirm a restore, move elections here from elsewhere.

After a restore of etcd from a snapshot nothing in it shows that anything is missing. What is missing are terms, and so
tokens that were given; sessions that are in the snapshot may have ended long ago. So the operator has to confirm the
restore: ``recover`` makes another store of it, in which nobody stands and every token is new.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence

from atomix_election.core.election import Election
from atomix_election.core.floors import MAX_FLOOR, Floors
from atomix_election.errors import InvalidRequest, OutcomeUnknown, StoreError
from atomix_election.etcd import (
    Compare,
    Delete,
    EtcdError,
    EtcdOutcomeUnknown,
    Get,
    GetResult,
    Operation,
    Put,
    TxnResult,
    absent,
    prefix_end,
    unchanged,
)
from atomix_election.etcd.interface import Etcd
from atomix_election.model import ElectionId
from atomix_election.stores.etcd_access import PAGE, READ_S
from atomix_election.stores.etcd_keys import (
    DEFAULT_PREFIX,
    Envelope,
    Identity,
    Layout,
    NamespaceFloors,
    decode_envelope,
    decode_floor,
    decode_floors,
    decode_identity,
    encode_envelope,
    encode_floor,
    encode_floors,
    encode_hold,
    encode_identity,
)

MAX_PUTS = 100
"""Elections that are written in one transaction: etcd allows 128 operations."""


def _new_id() -> str:
    return secrets.token_hex(16)


async def raise_floor(etcd: Etcd, number: int, *, prefix: str = DEFAULT_PREFIX) -> int:
    """Let no new term have a lower number than this one, in any election. Servers may run meanwhile.

    Args:
        etcd: a client that is open.
        number: the least number of a new term.
        prefix: of the store.

    Returns:
        The floor that holds now: a higher one from before stays.

    Raises:
        InvalidRequest: the number is not from 1 to ``MAX_FLOOR``.
        StoreError: there is no such store, or nothing was changed; OutcomeUnknown where that is not known.
    """
    if not 1 <= number <= MAX_FLOOR:
        raise InvalidRequest(f"a floor of {number} is not from 1 to {MAX_FLOOR}")
    layout = Layout(prefix)
    while True:
        identity, (floor,) = await _read(etcd, layout, [Get(layout.floor)])
        before = decode_floor(floor.items[0].value) if floor.items else 0
        if before >= number:
            return before
        version = floor.items[0].mod_revision if floor.items else 0
        compares = [unchanged(layout.store, identity.version), unchanged(layout.floor, version)]
        if (await _call(etcd, compares, [Put(layout.floor, encode_floor(number))])).succeeded:
            return number


async def known_floors(etcd: Etcd, *, prefix: str = DEFAULT_PREFIX) -> Floors:
    """Return what no number and no revision of a store in etcd, as it is now, is above: etcd's own revision included.

    Args:
        etcd: a client that is open.
        prefix: of the store.

    Raises:
        StoreError: there is no such store, or it cannot be read.
    """
    return (await _survey(etcd, Layout(prefix)))[1]


async def recover(
    etcd: Etcd,
    floors: Floors,
    *,
    hold_s: float,
    prefix: str = DEFAULT_PREFIX,
    new_id: Callable[[], str] = _new_id,
) -> str:
    """Make another store of what was restored from a snapshot of etcd. No server may use it meanwhile.

    Nobody stands in any election any more, no session is open, and all numbers and revisions go on above the floors and
    above all that is there. Everything is decided in one transaction; the names of the elections are written back after
    it, and are not listed if that breaks off.

    Args:
        etcd: a client that is open.
        floors: above what numbers and revisions go on; see ``known_floors``.
        hold_s: the longest time-to-live that was granted: leaders who are not known any more may act for as long.
        prefix: of the store.
        new_id: returns the identity of the new store.

    Returns:
        The identity of the store from now on.

    Raises:
        StoreError: there is no such store, somebody changes it, or nothing was changed; OutcomeUnknown where that is
            not known: repeat it.
    """
    layout, store_id = Layout(prefix), new_id()
    identity, known, elections, revision = await _survey(etcd, layout)
    floors = floors.over(known)
    head = Get(layout.head)
    _, (found,) = await _read(etcd, layout, [head])
    version = found.items[0].mod_revision if found.items else 0
    if version > revision:
        raise StoreError("the store changed while it was read: stop all servers that use it, and try again")
    prefixes = (layout.all_elections, layout.all_sessions, layout.all_servers, layout.all_floors)
    operations = [
        *(Delete(each, prefix_end(each)) for each in prefixes),
        Put(layout.store, encode_identity(store_id, floors)),
        Put(layout.hold, encode_hold(hold_s)),
        Put(layout.head, b""),
    ]
    compares = [unchanged(layout.store, identity.version), unchanged(layout.head, version)]
    if not (await _call(etcd, compares, operations)).succeeded:
        raise StoreError("the store changed while it was recovered: stop all servers that use it, and try again")
    await _write_all(etcd, layout, [(each, floors) for each in elections])
    return store_id


async def migrate_in(
    etcd: Etcd,
    elections: Iterable[tuple[ElectionId, Floors]],
    *,
    hold_s: float,
    everywhere: Floors | None = None,
    namespaces: Mapping[str, Floors] | None = None,
    prefix: str = DEFAULT_PREFIX,
    new_id: Callable[[], str] = _new_id,
) -> str:
    """Make a store in etcd for elections that were kept elsewhere: their tokens keep growing, nobody stands in them.

    The store is there when all of them are. If it breaks off before, opening says so.

    Args:
        etcd: a client that is open.
        elections: each with its last number and revision.
        hold_s: the longest time-to-live that was granted: leaders of before may act for as long.
        everywhere: below what no other election begins.
        namespaces: the same, for namespaces where that is higher.
        prefix: of the store. There may be no key yet that begins so.
        new_id: returns the identity of the store.

    Returns:
        The identity of the store.

    Raises:
        StoreError: the prefix is in use, or etcd cannot be reached: delete what begins with it before the next try.
    """
    layout, store_id = Layout(prefix), new_id()
    answer = await _call(etcd, [], [Get(layout.prefix, layout.end, limit=1, keys_only=True)])
    if isinstance(answer.responses[0], GetResult) and answer.responses[0].items:
        raise StoreError(f"etcd has keys that begin with {prefix!r}: name another prefix, or delete them first")
    await _write_all(etcd, layout, list(elections))
    for namespace, floors in (namespaces or {}).items():
        put = Put(layout.floors(namespace), encode_floors(NamespaceFloors(floors)))
        await _call(etcd, [absent(layout.store)], [put])
    operations = [
        Put(layout.store, encode_identity(store_id, everywhere or Floors())),
        Put(layout.hold, encode_hold(hold_s)),
        Put(layout.head, b""),
    ]
    if not (await _call(etcd, [absent(layout.store)], operations)).succeeded:
        raise StoreError(f"a server made a store of {prefix!r} meanwhile: stop it, delete these keys, and try again")
    return store_id


async def _survey(etcd: Etcd, layout: Layout) -> tuple[Identity, Floors, list[ElectionId], int]:
    """Return what store it is, what nothing in it is above, its elections, and the revision of the first read."""
    identity, _ = await _read(etcd, layout, [])
    floors, elections, first = identity.floors, list[ElectionId](), 0
    key, end = layout.prefix, layout.end
    while True:
        _, (page,) = await _read(etcd, layout, [Get(key, end, limit=PAGE)])
        first = first or page.header.revision
        floors = floors.over(Floors(page.header.revision, 0))
        for item in page.items:
            if item.key.startswith(layout.all_elections):
                elections.append(layout.election_id(item.key))
                floors = floors.over(decode_envelope(item.value).election)
            elif item.key.startswith(layout.all_floors):
                floors = floors.over(decode_floors(item).floors)
            elif item.key == layout.floor:
                floors = floors.over(Floors(decode_floor(item.value), 0))
        if not page.more:
            return identity, floors, elections, first
        key = page.items[-1].key + b"\0"


async def _write_all(etcd: Etcd, layout: Layout, elections: Sequence[tuple[ElectionId, Floors]]) -> None:
    """Write elections in which nobody stands, where there are none."""
    for start in range(0, len(elections), MAX_PUTS):
        part = elections[start : start + MAX_PUTS]
        puts = [
            Put(layout.election(election_id), encode_envelope(Envelope(Election(number=number, revision=revision))))
            for election_id, (number, revision) in part
        ]
        if not (await _call(etcd, [absent(each.key) for each in puts], puts)).succeeded:
            for put in puts:  # somebody uses some of them already, and those go on
                await _call(etcd, [absent(put.key)], [put])


async def _read(etcd: Etcd, layout: Layout, gets: Sequence[Get]) -> tuple[Identity, Sequence[GetResult]]:
    answer = await _call(etcd, [], [*gets, Get(layout.store)])
    *results, store = (each for each in answer.responses if isinstance(each, GetResult))
    if not store.items:
        raise StoreError(f"etcd has no store under {layout.prefix.decode()!r}: name its prefix")
    return decode_identity(store.items[0]), results


async def _call(etcd: Etcd, compares: Sequence[Compare], operations: Sequence[Operation]) -> TxnResult:
    try:
        return await etcd.txn(compares, operations, timeout_s=READ_S)
    except EtcdOutcomeUnknown as error:
        raise OutcomeUnknown(f"{error}; then repeat the command") from error
    except EtcdError as error:
        raise StoreError(str(error)) from error
