"""Progress of long work on stderr: bars in a terminal, a line every tenth of the way in a log."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class ProgressBars:
    """A bar for each piece of work, by its label."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._console = console
        self._bars = Progress(*columns, console=console, disable=not console.is_terminal)
        self._tasks: dict[str, TaskID] = {}
        self._tenths: dict[str, int] = {}

    def __enter__(self) -> ProgressBars:
        self._bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        """Prints a line above the bars."""
        self._console.print(text, markup=False, soft_wrap=True)

    def show(self, label: str, done: int, total: int) -> None:
        """Moves the bar of `label`; work of which there is nothing to do is not shown."""
        if not total:
            return
        if not self._console.is_terminal:
            if self._tenths.get(label, -1) < 10 * done // total:
                self._tenths[label] = 10 * done // total
                self.say(f"{label}: {done} of {total}")
            return
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(label)
        self._bars.update(self._tasks[label], completed=done, total=total)
