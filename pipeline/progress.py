"""How long work tells that it moves: one protocol, implemented by the command line and flows."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the advance of one task after another; calls may come from several threads."""

    def start(self, what: str, total: int | None) -> None:
        """Begin the task named `what` of `total` steps (rows, optimiser steps); None: unknown."""

    def advance(self, n: int, **figures: float) -> None:
        """Report `n` more steps, with figures worth showing (``loss=0.31``)."""

    def finish(self) -> None:
        """End the task that was started last."""


class Silent:
    """A `Progress` that shows nothing.

    >>> quiet: Progress = Silent()
    >>> quiet.start("rows", 3)
    >>> quiet.advance(3, loss=0.5)
    >>> quiet.finish()
    """

    def start(self, what: str, total: int | None) -> None:
        """Ignore the start."""

    def advance(self, n: int, **figures: float) -> None:
        """Ignore the advance."""

    def finish(self) -> None:
        """Ignore the end."""
