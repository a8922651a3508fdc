"""``atomix-election describe``: print who stands in an election, since when, and what keeps each session open.

With ``--json`` it is one object::

    {"election": str, "namespace": str, "leader": str or null, "number": int, "revision": int, "began_at": str or null,
     "candidates": [{"candidate": str, "entered_at": str or null, "session": SESSION}, ...],
     "waits_for": [{"candidate": str, "number": int, "session": SESSION}, ...]}

The candidates are in order, the leader first. ``waits_for`` has the former leaders whose step-down the leader waits
for, each with the number of its term. Times are in ISO 8601 and UTC, by the server's wall clock; null when not known.
SESSION is ``{"digest": str, "kind": "renewals" or "connections" or "ended", "ttl_s": float,
"lease_left_s": float or null, "peer": str}``; ``lease_left_s`` is null as long as a connection keeps the session, and
``peer`` is "" when it is not known.
"""

import json

import anyio

from atomix_election.cli.frame import subcommand
from atomix_election.cli.options import Where, client_options, election_argument, json_option, local_time, utc_time
from atomix_election.model import ElectionDescription, SessionDescription, SessionKind

_COLUMNS = ("CANDIDATE", "ENTERED", "SESSION", "KEPT BY", "TTL", "LEFT", "PEER")


@subcommand("describe")
@election_argument
@json_option
@client_options
def command(election: str, where: Where, as_json: bool) -> int:
    """Run it, and return the exit status."""
    description = anyio.run(describe, where, election)
    if as_json:
        print(_json(election, where.namespace, description))
    else:
        _print(election, where.namespace, description)
    return 0


async def describe(where: Where, election: str) -> ElectionDescription:
    """Return who stands in an election, and how."""
    call = where.call(election)
    async with where.connecting() as service:
        return await service.describe(call)


def _print(election: str, namespace: str, description: ElectionDescription) -> None:
    term = description.term
    print(f"election   {election}")
    print(f"namespace  {namespace}")
    print(f"leader     {term.leader or '(nobody)'}")
    print(f"term       {term.number}")
    print(f"since      {local_time(description.began_at)}")
    print(f"revision   {term.revision}")
    for each in description.displaced:
        print(f"waits for  {each.id} of term {each.number}, session {each.session.digest}")
    rows = [_COLUMNS] + [
        (each.id, local_time(each.entered_at), *_session_cells(each.session)) for each in description.candidates
    ]
    if len(rows) > 1:
        widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
        print()
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _session_cells(session: SessionDescription) -> tuple[str, str, str, str, str]:
    if session.kind is SessionKind.ENDED:
        return session.digest, "(ended)", "-", "-", "-"
    left = "-" if session.lease_left_s is None else f"{session.lease_left_s:.1f} s"
    return session.digest, session.kind.name.lower(), f"{session.ttl_s:g} s", left, session.peer or "-"


def _json(election: str, namespace: str, description: ElectionDescription) -> str:
    term = description.term
    return json.dumps(
        {
            "election": election,
            "namespace": namespace,
            "leader": term.leader,
            "number": term.number,
            "revision": term.revision,
            "began_at": utc_time(description.began_at),
            "candidates": [
                {
                    "candidate": each.id,
                    "entered_at": utc_time(each.entered_at),
                    "session": _session_json(each.session),
                }
                for each in description.candidates
            ],
            "waits_for": [
                {"candidate": each.id, "number": each.number, "session": _session_json(each.session)}
                for each in description.displaced
            ],
        }
    )


def _session_json(session: SessionDescription) -> dict[str, object]:
    return {
        "digest": session.digest,
        "kind": session.kind.name.lower(),
        "ttl_s": session.ttl_s,
        "lease_left_s": session.lease_left_s,
        "peer": session.peer,
    }
