"""Which of several servers should look after something, so that all agree without asking each other.

Rendezvous hashing (Thaler and Ravishankar, 1998): each server gets a weight for each thing, and the heaviest is the
first. When one comes or goes, only what it is the first for changes hands.
"""

from collections.abc import Iterable
from hashlib import blake2b


def rank(server: str, servers: Iterable[str], thing: str) -> int:
    """Return how many of the servers come before one of them.

    Args:
        server: the one.
        servers: all of them; the one counts, whether it is among them or not.
        thing: what is to be looked after.
    """
    own = _weight(server, thing)
    return sum(_weight(each, thing) > own for each in set(servers) if each != server)


def _weight(server: str, thing: str) -> tuple[bytes, str]:
    return blake2b(f"{server}\0{thing}".encode(), digest_size=8).digest(), server
