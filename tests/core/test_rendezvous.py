"""Servers agree on an order, and little changes hands."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from atomix_election.core.rendezvous import rank

_servers = st.sets(st.text(st.characters(categories=["Ll"]), min_size=1, max_size=4), min_size=1, max_size=8)


@given(_servers, st.text(max_size=5))
def test_ranks_are_an_order(servers: set[str], thing: str) -> None:
    """Each place is taken once, whether a server counts itself or not."""
    assert sorted(rank(each, servers, thing) for each in servers) == list(range(len(servers)))
    assert all(rank(each, servers - {each}, thing) == rank(each, servers, thing) for each in servers)


@given(_servers, st.text(max_size=5))
def test_who_leaves_changes_nothing_among_the_others(servers: set[str], thing: str) -> None:
    """Those behind it move up, and those before it stay."""
    order = sorted(servers, key=lambda each: rank(each, servers, thing))
    for gone in servers:
        left = servers - {gone}
        assert sorted(left, key=lambda each: rank(each, left, thing)) == [each for each in order if each != gone]


def test_each_server_comes_first_for_its_share() -> None:
    """Within what chance does."""
    servers = [f"server {number}" for number in range(4)]
    first = Counter(
        next(each for each in servers if rank(each, servers, f"election {number}") == 0) for number in range(2000)
    )
    assert all(400 < first[each] < 600 for each in servers)
