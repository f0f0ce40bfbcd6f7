"""One thread that ends what runs too long."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Stoppable(Protocol):
    """Something that runs until it is done or `terminate` is set, as ONNX Runtime's runs do."""

    terminate: bool


class Watchdog:
    """Stops every run that takes longer than `ticks` of `seconds_per_tick`.

    Time is counted in ticks of its own thread: while a process is frozen, by a debugger or its
    container, no run grows old. Watching costs a microsecond; a timer a run would cost fifty.
    """

    def __init__(self, *, ticks: int, seconds_per_tick: float = 1.0) -> None:
        self.ticks, self.seconds_per_tick = ticks, seconds_per_tick
        self._now = 0
        self._ends: dict[Stoppable, int] = {}
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def start(self) -> None:
        """Make sure that the thread runs, in a forked process as well."""
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._count, name="watchdog", daemon=True)
                self._thread.start()

    def watch(self, run: Stoppable) -> None:
        """Count the time of `run` from now on."""
        self._ends[run] = self._now + self.ticks

    def release(self, run: Stoppable) -> None:
        """Forget `run`, which has ended."""
        del self._ends[run]

    def tick(self) -> None:
        """One more tick has passed: stop what is too old."""
        self._now += 1
        for run, end in list(self._ends.items()):
            if end < self._now:
                run.terminate = True

    def _count(self) -> None:
        while True:
            time.sleep(self.seconds_per_tick)
            self.tick()
