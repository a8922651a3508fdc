"""A clock for tests: the time of the event loop, which a test can make pass at once."""

import asyncio

import anyio


class VirtualClock:
    """The event loop's own time, as an engine's ``clock``.

    Under Trio's ``MockClock(autojump_threshold=0)`` minutes of waiting pass at once, and equal runs take equal times;
    with anyio's pytest plugin::

        @pytest.fixture
        def anyio_backend() -> tuple[str, dict[str, Any]]:
            return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    """

    def now(self) -> float:
        """Return the event loop's time in seconds."""
        try:
            return asyncio.get_running_loop().time()  # where there is no task, anyio does not know which one runs
        except RuntimeError:
            return anyio.current_time()

    async def sleep_until(self, when: float) -> None:
        """Wait until ``now() >= when``."""
        while self.now() < when:  # noqa: ASYNC110 - what is waited for is the time
            await anyio.sleep_until(when)
