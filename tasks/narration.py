"""What a person sees of a task while it works: a progress bar on a terminal, a line in the Prefect log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

_CONSOLE = Console(stderr=True, highlight=False)


class Narration:
    """The open progress line of one task."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress = progress
        self._title = title
        self._bar = progress.add_task(title, total=None)
        self._outcome = ""

    def expect(self, total: float) -> None:
        """Say how many units of work there are, which turns the spinner into a bar."""
        self._progress.update(self._bar, total=total)

    def advance(self, done: float = 1.0, detail: str = "") -> None:
        """Move the bar by `done` units and show `detail` beside it."""
        self._progress.update(self._bar, advance=done, description=f"{self._title}  {detail}")

    def reach(self, done: float) -> None:
        """Set how much is done."""
        self._progress.update(self._bar, completed=done)

    def conclude(self, outcome: str) -> None:
        """Set what the closing line says."""
        self._outcome = outcome

    @property
    def outcome(self) -> str:
        """What was concluded, empty when nothing was."""
        return self._outcome


@contextmanager
def narrate(title: str) -> Iterator[Narration]:
    """Show `title` with a live bar on stderr, then one closing line with the outcome and the time taken."""
    started = time.perf_counter()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    with Progress(*columns, console=_CONSOLE, transient=True, disable=not _CONSOLE.is_terminal) as progress:
        narration = Narration(progress, title)
        yield narration
    elapsed_s = time.perf_counter() - started
    _CONSOLE.print(f"[green]✓[/green] {title:<11} {narration.outcome} [dim]({elapsed_s:.1f} s)[/dim]", soft_wrap=True)
    _log()(f"{title}: {narration.outcome}")


def _log() -> Callable[[str], None]:
    try:
        return get_run_logger().info
    except MissingContextError:  # a task called through .fn, outside a run
        return lambda _text: None
