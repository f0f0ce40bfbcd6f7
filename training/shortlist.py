"""Which recipes ``auto`` trains and compares; the first of each list is what it would keep."""

from __future__ import annotations

from training.spec import Head

TARGET_CANDIDATES = ("supervised", "linear")
"""What ``auto`` compares when the encoder may learn from labels. That is what was asked for: few
validation rows must not speak against it."""

FEW_TARGET_CANDIDATES = ("neighbours", "linear")
"""The same where few rows have a label: what the others tell of each other must hold the code."""

FEW_SHARE, MOST_FEW = 0.05, 5_000
"""Labels are few below this share of the training rows, and below so many."""

CANDIDATES = ("linear", "joint", "neighbours")
"""What ``auto`` compares by a label's probe; the first is kept unless another is clearly better."""

NARROW = 30
"""Prepared width below which every column tells something of its own: rows that are alike in few
columns differ in what matters, so that `neighbours` blurs it."""


def shortlist(
    width: int, *, dim: int, rows: int, label: str | None, heads: tuple[Head, ...]
) -> tuple[str, ...]:
    """The recipes for codes `dim` wide of a table whose prepared width is `width`.

    `rows` are those that train, `label` is the column to choose by, and `heads` are the labels that
    the encoder is to learn from, if it is.
    """
    if heads:
        return target_candidates(max(head.labelled for head in heads), rows=rows)
    return CANDIDATES if label else unlabelled_candidates(width, dim=dim)


def target_candidates(labelled: int, *, rows: int) -> tuple[str, ...]:
    """What ``auto`` compares when `labelled` of `rows` training rows have a label to learn from.

    >>> [target_candidates(labelled, rows=10_000)[0] for labelled in (100, 1_000)]
    ['neighbours', 'supervised']
    """
    few = labelled < min(FEW_SHARE * rows, MOST_FEW)
    return FEW_TARGET_CANDIDATES if few else TARGET_CANDIDATES


def unlabelled_candidates(width: int, *, dim: int) -> tuple[str, ...]:
    """What ``auto`` compares by hidden columns; the first is kept unless the other is better.

    `width` is the prepared width of the table, as in `training.spec.default_dim`. A code as wide
    as the table can hold all of it in straight lines, and a curved one only loses. A wider one has
    room for what straight lines do not give, and whoever asks for it wants that.

    >>> [unlabelled_candidates(width, dim=16)[0] for width in (784, 28, 16, 10)]
    ['neighbours', 'joint', 'linear', 'neighbours']
    """
    if dim >= width:
        return ("linear",) if dim == width else ("neighbours",)
    return ("joint" if width < NARROW else "neighbours", "linear")
