"""Rules of the contract: many elections, listed all together and by pages."""

from atomix_election.core.election import Election
from atomix_election.model import ElectionId
from atomix_election.stores.base import Store
from atomix_election.testing.contract.elections import E2, ELECTION
from atomix_election.testing.contract.expecting import all_in, closing, equal, holds, listed, named, put, put_all
from atomix_election.testing.contract.rules import StoreRules

LISTING_RULES = StoreRules()


@LISTING_RULES.of_a_store
async def all_elections_that_were_written_are_listed(store: Store) -> None:
    """Also those that are empty by now; each once, in its newest state; writing meanwhile does no harm."""
    await put_all(store, all_in("default", (f"e{number}" for number in range(20)), ELECTION))
    first = ElectionId("default", "e0")
    await put(store, first, Election(number=1), (await store.read(first)).version)
    found: dict[ElectionId, Election] = {}
    async with closing(store.elections()) as elections:
        async for election_id, election in elections:
            holds(election_id not in found, "each election once", f"{named(election_id)} again", "all were listed")
            found[election_id] = election
            await put(store, ElectionId("more", election_id.name), ELECTION)
    ours = {each: election for each, election in found.items() if each.namespace == "default"}
    expected = all_in("default", (f"e{number}" for number in range(20)), ELECTION) | {first: Election(number=1)}
    equal(ours, expected, "all were listed while others were written")


@LISTING_RULES.of_a_store
async def what_is_forgotten_while_all_are_listed_hides_no_other(store: Store) -> None:
    """Neither what was listed nor what is still to come; two lists at the same time do not disturb each other."""
    names = [f"e{number:02}" for number in range(20)]
    for name in names:
        await put(store, ElectionId("default", name), ELECTION)
    kept = {ElectionId("default", name) for name in names[::2]}
    leaving = [ElectionId("default", name) for name in names[1::2]]
    when = "all were listed while others were forgotten"
    found: list[ElectionId] = []
    async with closing(store.elections()) as elections:
        async for election_id, _ in elections:
            found.append(election_id)
            if leaving:
                gone = leaving.pop(0 if len(leaving) % 2 else -1)
                await store.forget(gone, expected=(await store.read(gone)).version)
                meanwhile = {each for each, _ in await listed(store)}
                equal(meanwhile, kept | set(leaving), f"{when}, and all were listed by somebody else")
    holds(len(found) == len(set(found)), "each election once", found, when)
    holds(kept <= set(found), "all that were never forgotten", sorted(kept - set(found)), f"{when}: what is missing")


@LISTING_RULES.of_a_store
async def pages_go_through_a_namespace_in_order_of_names(store: Store) -> None:
    """Each election once, in its newest state, whatever the size of the page; what was added since is found too."""
    names = ["b", "a", "B", "a-", "c.1", "c.10", "c.2", "~"]
    await put_all(store, all_in("default", names, ELECTION))
    changed = ElectionId("default", "a")
    await put(store, changed, Election(number=1), (await store.read(changed)).version)
    await put(store, E2, ELECTION)
    page = await store.page("default", after="", limit=2)
    equal(page, [("B", ELECTION), ("a", Election(number=1))], "the first page of two was read")
    page = await store.page("default", after="a", limit=1)
    equal(page, [("a-", ELECTION)], "a page of one was read after 'a'")
    await put(store, ElectionId("default", "aa"), ELECTION)
    for limit in (1, 3, 100):
        found: list[str] = []
        while page := await store.page("default", after=found[-1] if found else "", limit=limit):
            holds(len(page) <= limit, f"at most {limit} elections", page, f"a page of {limit} was read")
            found += [name for name, _ in page]
        equal(found, sorted([*names, "aa"]), f"pages of {limit} were read, one after the other")


@LISTING_RULES.of_a_store
async def a_page_begins_after_a_name_that_need_not_be_there(store: Store) -> None:
    """And nothing comes after the last one, nor in a namespace without elections."""
    await put_all(store, all_in("default", "ac", ELECTION))
    page = await store.page("default", after="b", limit=9)
    equal([name for name, _ in page], ["c"], "a page was read after 'b', which is not there")
    equal(await store.page("default", after="c", limit=9), [], "a page was read after the last election")
    equal(await store.page("nowhere", after="", limit=9), [], "a page was read of a namespace without elections")


@LISTING_RULES.of_a_store
async def a_page_is_full_unless_it_is_the_last(store: Store) -> None:
    """Elections that nobody is in count, those that were forgotten and those of other namespaces do not."""
    names = [f"e{number:02}" for number in range(12)]
    records = await put_all(store, all_in("default", names, Election()))
    for namespace in ("defaul", "default.", "default0"):
        await put_all(store, all_in(namespace, names, ELECTION))
    for name in names[1:8:2]:
        gone = ElectionId("default", name)
        await store.forget(gone, expected=records[gone].version)
    left = [(name, Election()) for name in names if name not in names[1:8:2]]
    for limit in (1, 5, 8, 9):
        when = f"a page of {limit} was read, where there are {len(left)} elections and others were forgotten"
        equal(await store.page("default", after="", limit=limit), left[:limit], when)
    equal(
        await store.page("default", after=left[4][0], limit=3), left[5:8], "a page was read that is full and the last"
    )
