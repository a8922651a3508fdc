"""``atomix-election list``: print the elections of a namespace that were ever entered, in order of their names.

They are printed as they come, a page at a time. With ``--json`` each election is one object in a line of its own::

    {"election": str, "leader": str or null, "candidate_count": int, "number": int, "revision": int,
     "began_at": str or null}

``candidate_count`` counts all who stand in it, the leader too; ``began_at`` is when the current term began, in ISO 8601
and UTC, by the server's wall clock; null when nobody leads, or it is not known.
"""

import json
import sys
from collections.abc import Iterable

import anyio

from atomix_election.cli.frame import subcommand
from atomix_election.cli.options import Where, client_options, json_option, local_time, utc_time
from atomix_election.model import ElectionSummary

_COLUMNS = ("ELECTION", "LEADER", "CANDIDATES", "TERM", "REVISION", "SINCE")
_Row = tuple[str, ...]


@subcommand("list")
@json_option
@client_options
def command(where: Where, as_json: bool) -> int:
    """Run it, and return the exit status."""
    anyio.run(_list, where, as_json)
    return 0


async def _list(where: Where, as_json: bool) -> None:
    namespace = where.checked_namespace()
    table = _Table()
    async with where.connecting() as service:
        page = await service.list_elections(namespace)
        _print(page.elections, table, as_json=as_json)
        while page.next_page_token:
            page = await service.list_elections(namespace, page_token=page.next_page_token)
            _print(page.elections, table, as_json=as_json)
    if not as_json and not table.begun:
        print(f"namespace {namespace} has no elections")


def _print(page: Iterable[ElectionSummary], table: "_Table", *, as_json: bool) -> None:
    if as_json:
        for each in page:
            print(_json(each))
    else:
        table.add([_row(each) for each in page])
    sys.stdout.flush()


def _json(summary: ElectionSummary) -> str:
    return json.dumps(
        {
            "election": summary.name,
            "leader": summary.leader,
            "candidate_count": summary.candidate_count,
            "number": summary.number,
            "revision": summary.revision,
            "began_at": utc_time(summary.began_at),
        }
    )


def _row(summary: ElectionSummary) -> _Row:
    return (
        summary.name,
        summary.leader or "(nobody)",
        str(summary.candidate_count),
        str(summary.number),
        str(summary.revision),
        local_time(summary.began_at),
    )


class _Table:
    """Rows in columns. The widths are those of what has come so far, as the rest is not known yet."""

    def __init__(self) -> None:
        self.begun = False
        self._widths = [len(column) for column in _COLUMNS]

    def add(self, rows: list[_Row]) -> None:
        """Print more rows, and before the first of them what the columns are."""
        if not rows:
            return
        for row in rows:
            self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, row, strict=True)]
        for row in rows if self.begun else [_COLUMNS, *rows]:
            cells = (cell.ljust(width) for cell, width in zip(row, self._widths, strict=True))
            print("  ".join(cells).rstrip())
        self.begun = True
