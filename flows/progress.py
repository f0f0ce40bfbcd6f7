"""Progress on standard error: a bar on a terminal, one line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from flows import logs
from pipeline.events import Fact, tell
from pipeline.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def console_progress(stream: TextIO | None = None) -> Iterator[Progress]:
    """The progress that suits `stream` (standard error): a bar if it is a terminal, else lines.

    Where logs are JSON, it is told as events.
    """
    stream = stream or sys.stderr
    if logs.is_json():
        yield Events()
        return
    if not stream.isatty():
        yield Lines(stream)
        return
    bar = Bar()
    try:
        yield bar
    finally:
        bar.close()  # an error must not leave the terminal without its cursor


class Tally:
    """How far one task is, how fast, and its latest figures; safe to advance from threads."""

    def __init__(self, what: str, total: int | None) -> None:
        self.what, self.total, self.done = what, total, 0
        self.told = -1  # `done` when it was last written
        self.figures: dict[str, float] = {}
        self._started = time.monotonic()
        self._lock = threading.Lock()

    def advance(self, n: int, figures: Mapping[str, float]) -> None:
        """Count `n` more steps and keep the newest value of every figure."""
        with self._lock:
            self.done += n
            self.figures.update(figures)

    @property
    def per_second(self) -> float:
        """Steps a second since the task began."""
        return self.done / max(time.monotonic() - self._started, 1e-9)

    @property
    def percent(self) -> float:
        """Share done in per cent; 0 while the total is unknown."""
        return min(100.0, 100.0 * self.done / self.total) if self.total else 0.0

    def text(self) -> str:
        """One line, such as ``rows: 500 of 1,000 (50 %), 250/s, loss 0.31``."""
        counted = (
            f"{self.done:,}"
            if self.total is None
            else (f"{self.done:,} of {self.total:,} ({self.percent:.0f} %)")
        )
        return f"{self.what}: {counted}{self.shown()}"

    def shown(self) -> str:
        """Speed and figures, such as ``, 12,300 rows/s, loss 0.31``."""
        speed = f"{number(self.per_second)}/s"
        if "rows_per_second" in self.figures:
            speed = f"{number(self.figures['rows_per_second'])} rows/s"
        others = {name: v for name, v in self.figures.items() if name != "rows_per_second"}
        return f", {speed}" + "".join(
            f", {name.replace('_', ' ')} {number(value)}" for name, value in others.items()
        )


class Lines:
    """A `Progress` that writes a line at the end of each task, and every few seconds before."""

    def __init__(self, stream: TextIO, *, every_seconds: float = SECONDS_BETWEEN_LINES) -> None:
        self._stream, self._every_seconds = stream, every_seconds
        self._tallies: list[Tally] = []
        self._next_line = 0.0

    def start(self, what: str, total: int | None) -> None:
        """Begin a task; its first line comes after the interval."""
        self._tallies.append(Tally(what, total))
        self._next_line = time.monotonic() + self._every_seconds

    def advance(self, n: int, **figures: float) -> None:
        """Count, and write a line if the last one is old enough."""
        if not self._tallies:
            return
        self._tallies[-1].advance(n, figures)
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + self._every_seconds
            self._write(self._tallies[-1])

    def finish(self) -> None:
        """Write the task's last line."""
        if self._tallies:
            self._write(self._tallies.pop())

    def _write(self, tally: Tally) -> None:
        if tally.done != tally.told:
            print(tally.text(), file=self._stream, flush=True)
        tally.told = tally.done


class Events:
    """A `Progress` that tells an event at the end of each task, and every few seconds before."""

    def __init__(self, *, every_seconds: float = SECONDS_BETWEEN_LINES) -> None:
        self._every_seconds = every_seconds
        self._tallies: list[Tally] = []
        self._next = 0.0

    def start(self, what: str, total: int | None) -> None:
        """Begin a task; its first event comes after the interval."""
        self._tallies.append(Tally(what, total))
        self._next = time.monotonic() + self._every_seconds

    def advance(self, n: int, **figures: float) -> None:
        """Count, and tell if the last event is old enough."""
        if not self._tallies:
            return
        self._tallies[-1].advance(n, figures)
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._every_seconds
            self._tell(self._tallies[-1])

    def finish(self) -> None:
        """Tell the task's end."""
        if self._tallies:
            self._tell(self._tallies.pop())

    def _tell(self, tally: Tally) -> None:
        if tally.done == tally.told:
            return
        tally.told = tally.done
        speed = tally.figures.get("rows_per_second", tally.per_second)
        facts: dict[str, Fact] = {**tally.figures, "rows_per_second": None}
        facts |= {"done": tally.done, "total": tally.total, "per_second": round(speed, 1)}
        known = {name: value for name, value in facts.items() if value is not None}
        tell("progress", level=logging.INFO, what=tally.what, **known)


class Bar:
    """A `Progress` that draws one bar per task on a terminal."""

    def __init__(self) -> None:
        self._rich: RichProgress | None = None
        self._tasks: list[tuple[TaskID, Tally]] = []

    def start(self, what: str, total: int | None) -> None:
        """Add a bar, under those that are still running."""
        if self._rich is None:
            self._rich = _new_rich()
            self._rich.start()
        tally = Tally(what, total)
        self._tasks.append((self._rich.add_task(what, total=total, figures=""), tally))

    def advance(self, n: int, **figures: float) -> None:
        """Move the bar and show the newest figures."""
        if self._rich is None or not self._tasks:
            return
        task, tally = self._tasks[-1]
        tally.advance(n, figures)
        self._rich.update(task, completed=tally.done, figures=tally.shown().removeprefix(", "))

    def finish(self) -> None:
        """Leave the finished bar where it is; give the terminal back after the last one."""
        if self._rich is None or not self._tasks:
            return
        self._tasks.pop()
        if not self._tasks:
            self.close()

    def close(self) -> None:
        """Stop drawing, whatever is still running."""
        if self._rich is not None:
            self._rich.stop()
        self._rich, self._tasks = None, []


def _new_rich() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def number(value: float) -> str:
    """A figure as people read it.

    >>> number(12345.6), number(0.03127), number(70.12)
    ('12,346', '0.0313', '70.1')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
