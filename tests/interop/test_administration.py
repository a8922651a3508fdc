"""Our service ``atomix_election.v1.Administration``, driven by a client of another make."""

from collections.abc import Callable

from tests.interop.peer import Peer, fresh, refusal, shown

FORGET = "/atomix_election.v1.Administration/Forget"


def test_forget_answers_what_the_election_goes_on_from(connect: Callable[..., Peer]) -> None:
    """Number is field 1 and revision field 2; who enters then is above both."""
    peer = connect(namespace=fresh("namespace"))
    peer.enter("a", "b")
    assert refusal(lambda: peer.bare(FORGET)) == ("INVALID_ARGUMENT", "InvalidRequest")
    peer.call("Close")
    for _ in range(2):
        assert peer.bare(FORGET) == b"\x08\x01\x10\x03"
    assert shown(peer.call("GetTerm").term) == ("", [], (1, 3))
    assert shown(peer.enter("c")) == ("c", ["c"], (2, 4))
