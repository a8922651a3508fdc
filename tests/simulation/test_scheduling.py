"""What the simulation does to Trio's scheduler."""

import trio
import trio.testing

from atomix_election.testing.scheduling import PROCESS, outside, tasks_of


def test_the_tasks_of_a_process_are_found() -> None:
    """Those that it started, however deep, and not what it had others do; none when all have ended."""
    found: list[list[str]] = []

    async def process() -> None:
        async with trio.open_nursery() as children:
            children.start_soon(trio.sleep_forever, name="deep")
            await trio.sleep_forever()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            token = PROCESS.set("a")
            nursery.start_soon(process, name="shallow")
            outside(nursery.start_soon, trio.sleep_forever)
            PROCESS.reset(token)
            nursery.start_soon(trio.sleep_forever)
            await trio.testing.wait_all_tasks_blocked()
            found.append(sorted(tasks_of("a")))
            nursery.cancel_scope.cancel()
        found.append(tasks_of("a"))

    trio.run(main)
    assert found == [["deep", "shallow"], []]
