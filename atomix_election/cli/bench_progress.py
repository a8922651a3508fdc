"""How far ``bench`` is, drawn on a terminal."""

from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from atomix_election.clock import SystemClock

_COLUMNS = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f} of {task.total:g} s"))


class Bar:
    """The part that goes on, and how much of its time is over."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._clock = SystemClock()
        self._part: TaskID | None = None
        self._began = 0.0

    def begin(self, part: str, duration_s: float) -> None:
        """A part begins."""
        if self._part is not None:
            self._progress.remove_task(self._part)
        self._part = self._progress.add_task(part, total=duration_s)
        self._began = self._clock.now()
        self.draw()

    def draw(self) -> None:
        """Draw it as it is now."""
        if self._part is not None:
            self._progress.update(self._part, completed=self._clock.now() - self._began)
            self._progress.refresh()


@contextmanager
def drawn_bar() -> Generator[Bar]:
    """Draw on standard error for as long as the block lasts, and then leave nothing there."""
    progress = Progress(
        *_COLUMNS,
        console=Console(stderr=True),
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with progress:
        yield Bar(progress)
