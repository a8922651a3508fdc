"""What an operator does to a store in etcd: raise the tokens, confirm a restore, move elections here from elsewhere.

After a restore of etcd from a snapshot nothing in it shows that anything is missing. What is missing are terms, and so
tokens that were given; sessions that are in the snapshot may have ended long ago. So the operator has to confirm the
restore: ``recover`` makes another store of it, in which nobody stands and every token is new.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import anyio

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
    Origin,
    decode_envelope,
    decode_floor,
    decode_floors,
    decode_hold,
    decode_identity,
    decode_origin,
    decode_stored,
    encode_envelope,
    encode_floor,
    encode_floors,
    encode_hold,
    encode_identity,
    encode_origin,
)
from atomix_election.stores.etcd_servers import SERVER_TTL_S
from atomix_election.stores.restored import Progress, no_progress

MAX_PUTS = 100
"""Elections that are written in one transaction: etcd allows 128 operations."""
MAX_WRITTEN_BACK = 60
"""Elections that are written back in one transaction, each of which may need two conditions."""
LOOK_S = 0.25
"""How often it is looked whether servers are still registered."""


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
    done = await _call(etcd, compares, operations)
    if not done.succeeded:
        raise StoreError("the store changed while it was recovered: stop all servers that use it, and try again")
    await _write_back(etcd, layout, elections, floors, done.revision)
    return store_id


async def wait_until_unused(etcd: Etcd, *, within_s: float, prefix: str = DEFAULT_PREFIX) -> None:
    """Wait until no server is registered that uses a store. Those that ended without saying so still count a while.

    Args:
        etcd: a client that is open.
        within_s: how long to wait; ``SERVER_TTL_S``, and a moment, is enough unless one runs.
        prefix: of the store.

    Raises:
        StoreError: one still is; or there is no such store, or it cannot be read.
    """
    layout, until = Layout(prefix), anyio.current_time() + within_s
    servers = Get(layout.all_servers, prefix_end(layout.all_servers), keys_only=True)
    while (found := (await _read(etcd, layout, [servers]))[1][0]).items:
        if anyio.current_time() >= until:
            raise StoreError(
                f"{len(found.items)} server(s), or clients in whose process elections run, are registered in this "
                f"store: stop all that use it, and try again; one that was killed counts for {SERVER_TTL_S} s"
            )
        await anyio.sleep(LOOK_S)


async def longest_ttl_s(etcd: Etcd, *, prefix: str = DEFAULT_PREFIX) -> float:
    """Return the longest time-to-live of open sessions and of a hold that is still due; 0 if there is none.

    Args:
        etcd: a client that is open.
        prefix: of the store.

    Raises:
        StoreError: there is no such store, or it cannot be read.
    """
    layout = Layout(prefix)
    _, (hold,) = await _read(etcd, layout, [Get(layout.hold)])
    longest_s = decode_hold(hold.items[0].value) if hold.items else 0.0
    async for page in _pages(etcd, layout, layout.all_sessions, prefix_end(layout.all_sessions)):
        longest_s = max((longest_s, *(decode_stored(each).ttl_s for each in page.items)))
    return longest_s


async def claim(etcd: Etcd, source: str, *, prefix: str = DEFAULT_PREFIX) -> str | None:
    """Keep a prefix for the elections of a store elsewhere. No server makes a store of it until they are here.

    Args:
        etcd: a client that is open.
        source: the identity of that store.
        prefix: of the store to be. There may be no key yet that begins so, unless this was done before.

    Returns:
        The identity of the store if all of them are here already, else None.

    Raises:
        StoreError: the prefix is in use, or etcd cannot be reached; OutcomeUnknown: repeat it.
    """
    layout = Layout(prefix)
    answer = await _call(
        etcd, [], [Get(layout.origin), Get(layout.store), Get(layout.prefix, layout.end, limit=1, keys_only=True)]
    )
    origin, store, anything = (each for each in answer.responses if isinstance(each, GetResult))
    if origin.items:
        return _claimed(decode_origin(origin.items[0].value), source, bool(store.items), prefix)
    if anything.items:
        raise StoreError(f"etcd has keys that begin with {prefix!r}: name another prefix, or delete them first")
    put = Put(layout.origin, encode_origin(Origin(source, "")))
    if not (await _call(etcd, [absent(layout.origin), absent(layout.store)], [put])).succeeded:
        raise StoreError(f"somebody else began to use {prefix!r}: stop that, or name another prefix")
    return None


def _claimed(origin: Origin, source: str, has_store: bool, prefix: str) -> str | None:
    if origin.source != source:
        raise StoreError(
            f"the keys in etcd that begin with {prefix!r} are of another store that moved: name another prefix"
        )
    if has_store and not origin.store_id:
        raise _made_meanwhile(prefix)
    return origin.store_id or None


async def migrate_in(
    etcd: Etcd,
    elections: Sequence[tuple[ElectionId, Floors]],
    *,
    hold_s: float,
    everywhere: Floors | None = None,
    namespaces: Mapping[str, Floors] | None = None,
    prefix: str = DEFAULT_PREFIX,
    source: str = "",
    progress: Progress = no_progress,
    new_id: Callable[[], str] = _new_id,
) -> str:
    """Make a store in etcd for elections that were kept elsewhere: their tokens keep growing, nobody stands in them.

    The store is there when all of them are. If it breaks off before, opening says so; repeated for the same source it
    goes on.

    Args:
        etcd: a client that is open.
        elections: each with its last number and revision.
        hold_s: the longest time-to-live that was granted: leaders of before may act for as long; 0 if there are none.
        everywhere: below what no other election begins.
        namespaces: the same, for namespaces where that is higher.
        prefix: of the store. There may be no key yet that begins so, but for what ``claim`` has written.
        source: the identity of the store that they come from, which nobody changes any more.
        progress: is told how far it is.
        new_id: returns the identity of the store.

    Returns:
        The identity of the store.

    Raises:
        StoreError: the prefix is in use, or etcd cannot be reached; OutcomeUnknown: repeat it.
    """
    layout, store_id = Layout(prefix), new_id()
    source = source or store_id
    complete = await claim(etcd, source, prefix=prefix)
    if complete is not None:
        return complete
    puts = [_fresh(layout, election_id, floors) for election_id, floors in elections]
    puts += [
        Put(layout.floors(namespace), encode_floors(NamespaceFloors(floors)))
        for namespace, floors in (namespaces or {}).items()
    ]
    for start in range(0, len(puts), MAX_PUTS):
        progress(min(start, len(elections)), len(elections))
        if not (await _call(etcd, [absent(layout.store)], puts[start : start + MAX_PUTS])).succeeded:
            raise _made_meanwhile(prefix)
    operations = [
        Put(layout.store, encode_identity(store_id, everywhere or Floors())),
        Put(layout.origin, encode_origin(Origin(source, store_id))),
        Put(layout.head, b""),
        *([Put(layout.hold, encode_hold(hold_s))] if hold_s else []),
    ]
    if not (await _call(etcd, [absent(layout.store)], operations)).succeeded:
        raise _made_meanwhile(prefix)
    return store_id


def _made_meanwhile(prefix: str) -> StoreError:
    return StoreError(
        f"a store was made under {prefix!r} while elections were moved there: repeat the command; where it says so "
        "again, a server did it: stop that server, delete the keys that begin so, and repeat the command"
    )


async def _survey(etcd: Etcd, layout: Layout) -> tuple[Identity, Floors, list[ElectionId], int]:
    """Return what store it is, what nothing in it is above, its elections, and the revision of the first read."""
    identity, _ = await _read(etcd, layout, [])
    floors, elections, first = identity.floors, list[ElectionId](), 0
    async for page in _pages(etcd, layout, layout.prefix, layout.end):
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
    return identity, floors, elections, first


async def _pages(etcd: Etcd, layout: Layout, key: bytes, end: bytes) -> AsyncIterator[GetResult]:
    """Read a range, page by page, each as it is then."""
    while True:
        _, (page,) = await _read(etcd, layout, [Get(key, end, limit=PAGE)])
        yield page
        if not page.more:
            return
        key = page.items[-1].key + b"\0"


async def _write_back(
    etcd: Etcd, layout: Layout, elections: Sequence[ElectionId], floors: Floors, version: int
) -> None:
    """Write elections in which nobody stands, where there are none and none was forgotten since.

    Each may take place late: when the store has been recovered again, or an election has come and gone.
    """
    for start in range(0, len(elections), MAX_WRITTEN_BACK):
        part = elections[start : start + MAX_WRITTEN_BACK]
        if not await _write_some_back(etcd, layout, part, floors, version):
            for each in part:  # somebody uses some of them already, and those go on
                await _write_some_back(etcd, layout, [each], floors, version)


async def _write_some_back(
    etcd: Etcd, layout: Layout, elections: Sequence[ElectionId], floors: Floors, version: int
) -> bool:
    namespaces = dict.fromkeys(each.namespace for each in elections)
    puts = [_fresh(layout, each, floors) for each in elections]
    absences = [*(layout.floors(each) for each in namespaces), *(each.key for each in puts)]
    return (await _call(etcd, [unchanged(layout.store, version), *map(absent, absences)], puts)).succeeded


def _fresh(layout: Layout, election_id: ElectionId, floors: Floors) -> Put:
    """Return what writes an election in which nobody stands."""
    return Put(layout.election(election_id), encode_envelope(Envelope(floors.begin())))


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
