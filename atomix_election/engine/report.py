"""What an engine says of its work: counts to an observer, and a line for each leader change to the log."""

import logging
from collections.abc import Mapping

from atomix_election.core import commands
from atomix_election.core.commands import Command
from atomix_election.core.election import Election
from atomix_election.errors import ElectionError
from atomix_election.model import Candidate, ElectionId, SessionId, Term
from atomix_election.observer import Observer

CAUSES: Mapping[type[Command], str] = {
    commands.Enter: "entered",
    commands.Withdraw: "withdrew",
    commands.Close: "closed",
    commands.Evict: "evicted",
    commands.Anoint: "anointed",
    commands.Promote: "promoted",
}
"""Why a leader changed, by the command that did it; the end of a session has causes of its own."""
EXPIRED = "expired"
"""Cause: nothing kept a session open for one time-to-live."""
ENDED = "ended"
"""Cause: a client ended its session."""
DISCONNECTED = "disconnected"
"""Cause: the connection closed of a client that had asked for its session to end then."""
UNCERTAIN = "uncertain"
"""Cause: one of several commands, of which the store could not tell for a while whether it had taken them."""

log: logging.Logger = logging.getLogger(__name__)


class Report:
    """Counts and logs. A session appears with its digest only: whoever knows its id can act for it.

    Args:
        observer: who counts.
    """

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self._known = 0
        self._led = 0
        self._watchers = 0
        self._ending: dict[SessionId, str] = {}

    def restart(self) -> None:
        """The engine begins with what is in its store."""
        self._known = self._led = 0
        self._ending.clear()

    def forgotten(self) -> None:
        """An election was removed, which nobody led."""
        self._known -= 1
        self.observer.elections(self._known, self._led)

    def created(self) -> None:
        """An election was written for the first time, or was found in the store."""
        self._known += 1
        self.observer.elections(self._known, self._led)

    def led(self, before: Election, after: Election) -> None:
        """An election has a leader now, or has none any more."""
        change = bool(after.candidates) - bool(before.candidates)
        if change:
            self._led += change
            self.observer.elections(self._known, self._led)

    def answered(
        self,
        election_id: ElectionId,
        command: Command,
        before: Election,
        after: Election,
        outcome: Term | ElectionError,
    ) -> None:
        """A command was committed, and answered so."""
        if isinstance(outcome, ElectionError):
            self.refused(command, outcome)
        elif isinstance(command, commands.Forget):
            self.observer.command(type(command).__name__, "forgotten")
            return  # it changes no leader: if there is one by now, somebody has entered since, maybe elsewhere
        else:
            changed = "changed" if after.revision != before.revision else "unchanged"
            self.observer.command(type(command).__name__, changed)
        if after.candidates[:1] != before.candidates[:1]:
            self._leader_changed(election_id, self._cause(command), before, after)

    def found_out(self, election_id: ElectionId, before: Election, after: Election) -> None:
        """Commands were committed of which that was not known when they were answered."""
        if after.candidates[:1] != before.candidates[:1]:
            self._leader_changed(election_id, UNCERTAIN, before, after)

    def refused(self, command: Command, error: ElectionError) -> None:
        """A command was answered with an error."""
        self.observer.command(type(command).__name__, type(error).__name__)

    def watching(self, change: int) -> None:
        """So many watches more, or less."""
        self._watchers += change
        self.observer.watchers(self._watchers)

    def session_opened(self, session: SessionId, ttl_s: float) -> None:
        """A session was opened, or found in the store."""
        log.debug("session %s of namespace %s is open, time-to-live %g s", session.digest, session.namespace, ttl_s)

    def session_ended(self, session: SessionId, cause: str) -> None:
        """A session has ended; its candidates leave."""
        if cause != EXPIRED:
            self._ending[session] = cause
        level = logging.INFO if cause == EXPIRED else logging.DEBUG
        if log.isEnabledFor(level):
            fields = {"event": "session_ended", "cause": cause, "session": session.digest}
            fields["namespace"] = session.namespace
            log.log(level, "session %s of namespace %s %s", session.digest, session.namespace, cause, extra=fields)

    def session_swept(self, session: SessionId) -> None:
        """Nothing of an ended session is left."""
        self._ending.pop(session, None)

    def _cause(self, command: Command) -> str:
        if isinstance(command, commands.ExpireSession):
            return self._ending.get(command.session, EXPIRED)
        return CAUSES[type(command)]

    def _leader_changed(self, election_id: ElectionId, cause: str, before: Election, after: Election) -> None:
        self.observer.leader_changed(cause)
        if log.isEnabledFor(logging.INFO):
            _log_leader_change(election_id, cause, before, after)


def _log_leader_change(election_id: ElectionId, cause: str, before: Election, after: Election) -> None:
    former, former_session = _shown(before)
    leader, session = _shown(after)
    fields = {
        "event": "leader_changed",
        "cause": cause,
        "namespace": election_id.namespace,
        "election": election_id.name,
        "term": after.number,
        "revision": after.revision,
        "former_leader": former,
        "former_session": former_session,
        "leader": leader,
        "leader_session": session,
    }
    log.info(
        "leader of %s in namespace %s changed (%s): %s, was %s, term %d revision %d",
        election_id.name,
        election_id.namespace,
        cause,
        f"{leader} of session {session}" if leader else "nobody",
        f"{former} of session {former_session}" if former else "nobody",
        after.number,
        after.revision,
        extra=fields,
    )


def _shown(election: Election) -> tuple[str | None, str | None]:
    leader: Candidate | None = next(iter(election.candidates), None)
    return (leader.id, leader.session.digest) if leader else (None, None)
