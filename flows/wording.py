"""Figures, moments and other people's names as our pages show them."""

from __future__ import annotations

from html import escape

from flows.redaction import without_secrets
from pipeline.errors import printable


def said(text: str) -> str:
    """Other people's text on one line, without secrets and without what would steer a reader.

    It is not escaped for HTML.
    """
    return printable(without_secrets(text))


def marked_up(text: str) -> str:
    """Other people's text as HTML shows it, cut where no page needs more."""
    return escape(said(shortened(text, 1_000)))


def shortened(text: str, most: int) -> str:
    """`text`, its middle left out where it is longer than `most` characters.

    >>> shortened("s3://lake/features/customers", 16)
    's3://lak…stomers'
    """
    if len(text) <= most:
        return text
    kept = most - 1
    return f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"


def moment(text: str) -> str:
    """An ISO moment to the minute.

    >>> moment("2026-11-22T21:04:33.123456+00:00")
    '2026-11-22 21:04'
    """
    return text[:16].replace("T", " ")


def count_of(value: float) -> str:
    """A count as short as an axis needs it.

    >>> count_of(950), count_of(12_500), count_of(1_500_000), count_of(2_000_000_000)
    ('950', '12.5k', '1.5M', '2B')
    """
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.4g}{name}"
    return f"{value:.4g}"


def span(seconds: float) -> str:
    """A time that something took.

    >>> span(0.25), span(61), span(7_260), span(42)
    ('0.25 s', '1m 1s', '2h 1m', '42 s')
    """
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest}s" if rest else f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m" if minutes else f"{hours}h"


def size_of(size: int) -> str:
    """Bytes as people read them.

    >>> size_of(950), size_of(1_240_000), size_of(3_500_000_000)
    ('950 B', '1.24 MB', '3.5 GB')
    """
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} B"


def signed(number: int) -> str:
    """A change, with its sign.

    >>> signed(1_200), signed(-3), signed(0)
    ('+1,200', '−3', '0')
    """
    return f"{number:+,}".replace("-", "−") if number else "0"


def counted(count: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "row"), counted(2_000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
