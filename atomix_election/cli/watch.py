"""``atomix-election watch``: show an election on a terminal, and print each change of it elsewhere."""

import logging
import sys
import time

import anyio

from atomix_election.cli.frame import subcommand
from atomix_election.cli.options import Where, client_options, election_argument, json_option, term_json, term_line
from atomix_election.cli.terminal import is_drawn_on


@subcommand("watch")
@election_argument
@json_option
@client_options
def command(election: str, where: Where, as_json: bool) -> int:
    """Run it, and return the exit status."""
    if not as_json and is_drawn_on(sys.stdout):
        from atomix_election.cli.live import show  # scripts do not pay for it

        anyio.run(show, where, where.call(election))
        return 0
    logging.basicConfig(level=logging.INFO, format="atomix-election: %(message)s")  # interruptions, to stderr
    anyio.run(_watch, where, election, as_json)
    return 0


async def _watch(where: Where, election: str, as_json: bool) -> None:
    call = where.call(election)
    async with where.connecting() as service, service.events(call) as events:
        async for event in events:
            if as_json:
                print(term_json(election, event.term, type=event.type.name), flush=True)
            else:
                print(f"{time.strftime('%H:%M:%S')}  {term_line(event.term)}", flush=True)
