"""What may go: names beyond the last few, once whoever was given them has had their time."""

from __future__ import annotations

from collections.abc import Container, Sequence
from datetime import UTC, datetime

from pipeline.config import parse_seconds


def beyond(names: Sequence[str], count: int, *, stay: Container[str]) -> list[str]:
    """Those of `names`, oldest first, that are not among the last `count` and need not `stay`.

    >>> beyond(["a", "b", "c", "d"], 2, stay={"a"})
    ['b']
    """
    return [name for name in names[: max(0, len(names) - count)] if name not in stay]


def is_over(left: datetime, grace: str) -> bool:
    """Whether the duration `grace` has passed since `left`, in UTC."""
    return (datetime.now(UTC) - left).total_seconds() >= parse_seconds(grace)
