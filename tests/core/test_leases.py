"""The lease table by example; ``test_lease_properties`` compares it with a naive one."""

import pytest

from atomix_election.core.leases import SPARE_ENTRIES, LeaseTable
from atomix_election.model import SessionId

SESSION, OTHER = SessionId("default", "1", 1), SessionId("default", "2", 1)


def opened(ttl_s: float = 10.0) -> LeaseTable:
    table = LeaseTable()
    table.grant(SESSION, ttl_s, 0.0)
    return table


def test_a_session_lasts_one_time_to_live_from_its_last_renewal() -> None:
    """Not a moment less; and it has ended at the deadline itself."""
    table = opened()
    table.renew(SESSION, 7.0)
    assert table.expire(16.999) == []
    assert table.expire(17.0) == [SESSION]
    assert SESSION not in table
    assert len(table) == 0
    assert table.expire(100.0) == []


def test_a_session_that_is_held_does_not_end() -> None:
    """Holds count: the last release starts one more time-to-live."""
    table = opened()
    table.hold(SESSION)
    table.hold(SESSION)
    assert table.expire(1000.0) == []
    assert table.next_deadline() is None
    table.release(SESSION, 1000.0)
    assert table.expire(2000.0) == []
    table.release(SESSION, 2000.0)
    assert table.next_deadline() == 2010.0
    assert table.expire(2009.999) == []
    assert table.expire(2010.0) == [SESSION]


def test_a_renewal_with_an_older_time_takes_nothing_away() -> None:
    """Renewals may arrive out of order: the longest counts."""
    table = opened()
    table.renew(SESSION, 5.0)
    table.renew(SESSION, 3.0)
    assert table.expire(14.0) == []
    assert table.expire(15.0) == [SESSION]


def test_each_session_has_its_own_time_to_live() -> None:
    """What keeps one session does not keep another, and they end in order of their deadlines."""
    table = opened()
    table.grant(OTHER, 3.0, 1.0)
    table.renew(SESSION, 2.0)
    assert table.next_deadline() == 4.0
    assert table.expire(100.0) == [OTHER, SESSION]


def test_an_ended_session_is_not_renewed_or_held() -> None:
    """The end is decided once; a connection that closes afterwards is no error."""
    table = opened()
    table.hold(SESSION)
    table.end(SESSION)
    table.end(SESSION)
    assert SESSION not in table
    for late in (lambda: table.renew(SESSION, 1.0), lambda: table.hold(SESSION)):
        with pytest.raises(KeyError):
            late()
    table.release(SESSION, 1.0)
    assert SESSION not in table
    assert table.expire(100.0) == []


def test_releasing_what_nobody_holds_changes_nothing() -> None:
    """It is no renewal, and the next hold counts as ever."""
    table = opened()
    table.release(SESSION, 5.0)
    table.hold(SESSION)
    assert table.expire(11.0) == []
    table.release(SESSION, 11.0)
    table.release(SESSION, 12.0)
    assert table.expire(20.999) == []
    assert table.expire(21.0) == [SESSION]
    unheld = opened()
    unheld.release(SESSION, 5.0)
    assert unheld.expire(10.0) == [SESSION]


def test_the_empty_table_has_no_deadline() -> None:
    """Nothing can end, so nobody has to look."""
    assert LeaseTable().next_deadline() is None
    assert LeaseTable().expire(1.0) == []


def test_the_longest_time_to_live_is_that_of_an_open_session() -> None:
    """However sessions come and go: for so long anybody may have to wait for the end of another."""
    table = LeaseTable()
    assert table.longest_ttl_s == 0.0
    for number, ttl_s in enumerate((2.0, 6.0, 6.0, 4.0)):
        table.grant(SessionId("n", str(number), number), ttl_s, 0.0)
    assert table.longest_ttl_s == 6.0
    table.end(SessionId("n", "1", 1))
    table.end(SessionId("n", "1", 1))
    assert table.longest_ttl_s == 6.0
    assert table.expire(6.0) == [SessionId("n", str(number), number) for number in (0, 3, 2)]
    assert table.longest_ttl_s == 0.0
    table.grant(SessionId("n", "9", 9), 1.0, 6.0)
    assert table.longest_ttl_s == 1.0


def test_what_is_left_of_a_lease() -> None:
    """Until its deadline, never less than nothing; a held one has no end to come."""
    table = opened()
    assert table.left_s(SESSION, 4.0) == 6.0
    table.renew(SESSION, 4.0)
    assert table.left_s(SESSION, 4.0) == 10.0
    assert table.left_s(SESSION, 20.0) == 0.0
    table.hold(SESSION)
    assert table.left_s(SESSION, 4.0) is None
    table.release(SESSION, 5.0)
    assert table.left_s(SESSION, 5.0) == 10.0


def test_nothing_is_kept_of_sessions_that_were_ended() -> None:
    """Also where nobody ever asks which have expired; and those that are open still end in order."""
    table = LeaseTable()
    lasting = [SessionId("default", "lasting", number) for number in range(10)]
    for number, session in enumerate(lasting):
        table.grant(session, 50.0 - number, 0.0)
    for number in range(1000):
        session = SessionId("default", "passing", number)
        table.grant(session, 100.0, 0.0)
        table.end(session)
        assert len(table._order) <= 2 * len(lasting) + SPARE_ENTRIES
    assert table.expire(50.0) == lasting[::-1]
