"""What a client tells whoever records it. Every default does nothing, at next to no cost."""

from collections.abc import Sequence
from typing import Protocol

from atomix_election.core.campaign import Action, Campaign
from atomix_election.core.candidacy import Place


class LeadershipObserver(Protocol):
    """Called where it happens, in the event loop: an implementation must not wait, and must not raise."""

    def wants(self, place: Place, wanted: bool) -> None:
        """A candidate is to be in the queue from now on, or is not any more."""

    def stepped(self, campaign: Campaign, actions: Sequence[Action]) -> None:
        """Something happened that may have changed where the client leads, and this is about to be done for it."""


class NoLeadershipObserver(LeadershipObserver):
    """Records nothing: what it does not override does nothing."""
