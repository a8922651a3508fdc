"""``run`` as a process, with the options of the command."""

import argparse
import logging
import sys

import anyio

from atomix_election import connect
from atomix_election.clock import SystemClock
from atomix_election.supervise import Mode, Plan, Runner


async def main(o):
    mode = Mode.ONCE if o.once else Mode.RESTART if o.restart else Mode.UNTIL_DONE
    async with connect(o.target, session_ttl=o.session_ttl) as client:
        election = client.election(o.election, candidate_id=o.candidate)
        return await Runner(client, election, Plan(o.command, mode, o.grace, o.takeover_delay), SystemClock()).run()


p = argparse.ArgumentParser()
p.add_argument("election")
p.add_argument("--target")
p.add_argument("--session-ttl", type=float, default=10.0)
p.add_argument("--candidate")
p.add_argument("--grace", type=float)
p.add_argument("--takeover-delay", type=float, default=0.0)
p.add_argument("--once", action="store_true")
p.add_argument("--restart", action="store_true")
i = sys.argv.index("--")
o = p.parse_args(sys.argv[1:i])
o.command = sys.argv[i + 1 :]
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
sys.exit(anyio.run(main, o))
