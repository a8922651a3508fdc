"""A candidate as a process: ``python -m tests.faults.candidate SETTINGS``, a JSON object; it says what it does."""

import json
import logging
import sys
from typing import Any

import anyio

from atomix_election import LeaderElection
from tests.faults.worker import Worker, now


async def main(settings: dict[str, Any]) -> None:
    """Lead whenever it can, until it is stopped."""
    who = settings["who"]

    def say(what: str, **more: Any) -> None:
        print(json.dumps({"who": who, "what": what, "at": now(), **more}), flush=True)  # noqa: T201

    async with LeaderElection(
        settings.get("election", "e"), target=settings["target"], candidate_id=who, **settings["options"]
    ) as election:
        say("ready")
        await election.run(Worker(election, say, **settings["work"]).work)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    anyio.run(main, given, backend=given.get("backend", "asyncio"))
