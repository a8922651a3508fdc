"""When nothing goes wrong any more, somebody leads within one time-to-live."""

import pytest

from atomix_election.core.campaign import Action, Campaign, GiveBack, Granted
from tests.model.client import Clients, Use
from tests.model.lease_protocol import Recovery, run
from tests.model.messages import RATES, TTL
from tests.model.parts import Bounds, Faults

LONGEST = TTL // min(RATES)
"""One time-to-live by the slowest clock, in instants."""


@pytest.mark.parametrize(
    "bounds",
    [
        Bounds(Faults(cuts=1), rates=((99, 99, 101),)),
        Bounds(Faults(commands=1, restarts=1, cuts=2), timeless=True),
        Bounds(Faults(restores=1), renewals=1, sessions=2, terms=1),
    ],
    ids=["cuts", "commands and restarts", "restores"],
)
def test_somebody_leads_within_one_time_to_live(bounds: Bounds) -> None:
    """From every state that can be reached, and sometimes it takes a while."""
    recovery = Recovery(bounds)
    run(bounds, visit=recovery.visit)
    assert recovery.stuck == 0
    assert 0 < recovery.longest <= LONGEST


class KeepsWhatItGaveUp(Campaign):
    """It does not give a leadership back that it gave up, so that nobody leads as long as it renews its session."""

    def _grant(self, granted: Granted, deadline: float, now: float) -> list[Action]:
        return [action for action in super()._grant(granted, deadline, now) if not isinstance(action, GiveBack)]


def test_a_client_that_leads_no_more_and_does_not_give_back_is_found() -> None:
    """Everybody waits for it, for ever: so the test above can fail."""
    bounds, clients = Bounds(renewals=1), Clients(KeepsWhatItGaveUp, Use.IS_LEADER)
    recovery = Recovery(bounds, clients)
    run(bounds, clients, visit=recovery.visit)
    assert recovery.stuck > 0
