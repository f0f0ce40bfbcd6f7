"""Tables and figures as Markdown writes them."""

from __future__ import annotations

from quality_claims import Floats, over_seeds


def grid(head: list[str], rows: list[list[str]]) -> list[str]:
    """A table."""
    return [_row(head), _row(["---"] * len(head)), *map(_row, rows)]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def percent(lines: Floats) -> str:
    """The mean score over seeds, of [seeds, 1 + resamples], in points."""
    return f"{100 * over_seeds(lines)[0]:.1f}"


def seconds(value: float) -> str:
    """Seconds as a person writes them.

    >>> seconds(0.0042), seconds(0.42), seconds(12.34)
    ('4.2 ms', '420 ms', '12.3 s')
    """
    if value >= 0.9995:
        return f"{value:.1f} s"
    return f"{value * 1000:.0f} ms" if value >= 0.00995 else f"{value * 1000:.1f} ms"


def fits(count: int | None) -> str:
    """A number of fits; None is never.

    >>> fits(1234), fits(None)
    ('1,234', 'never')
    """
    return "never" if count is None else f"{count:,}"
