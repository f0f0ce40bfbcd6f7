"""Comparison of answers: how far apart, where, and the error that says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import ParityError

Array = npt.NDArray[Any]

TOLERANCE = 1e-5
"""Between runtimes: absolute, plus as much again of the largest value compared."""
STEADY_TOLERANCE = 1e-6
"""Between batch sizes and thread counts of one runtime."""

_ROWS_TOLD, _COLUMNS_TOLD, _CHARACTERS_TOLD = 3, 8, 24


def agree(
    check: str,
    expected: Array,
    found: Array,
    *,
    rows: Mapping[str, Array],
    tolerance: float = TOLERANCE,
    rounding: float = 0.0,
) -> float:
    """The largest difference between `expected` and `found`, both [N, …]; `rows` names them.

    Raises:
        ParityError: if shapes differ, or a value is off by more than
            ``tolerance + tolerance * max|expected| + 2 * rounding``, or is not a number in one of
            the two. `rounding` is what float32 itself costs; both sides may be off by it.
    """
    if expected.shape != found.shape:
        raise ParityError(
            f"check '{check}' failed: shape {expected.shape} required, found {found.shape}"
        )
    if not expected.size:
        return 0.0
    left, right = expected.astype(np.float64), found.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.where(left == right, 0.0, np.abs(left - right)).reshape(len(left), -1)
    largest = float(np.max(np.abs(left), where=np.isfinite(left), initial=0))
    allowed = tolerance + tolerance * largest + 2 * rounding
    wrong = ~(apart <= allowed)
    if wrong.any():
        worst = np.where(np.isnan(apart), np.inf, apart).max(axis=1)
        raise ParityError(
            f"check '{check}' failed: values may differ by {allowed:.1e}, found "
            f"{worst.max():.1e} {tell_rows(wrong.any(axis=1), rows)}"
        )
    return float(apart.max())


def same(check: str, expected: Mapping[str, Array], found: Mapping[str, Array]) -> None:
    """Nothing, when all arrays hold the same bits (any NaN equals any NaN).

    Raises:
        ParityError: naming the first array that differs, and its first differing row.
    """
    for name, array in expected.items():
        if not identical(array, found[name]):
            differs = [not identical(a, b) for a, b in zip(array, found[name], strict=False)]
            row = int(np.argmax(differs)) if any(differs) else min(len(array), len(found[name]))
            raise ParityError(
                f"check '{check}' failed: '{name}' must be identical to the last bit, "
                f"found another value in row {row}"
            )


def identical(left: Array, right: Array) -> bool:
    """Whether two arrays (or their elements) are equal in shape and bits, NaN included."""
    left, right = np.asarray(left), np.asarray(right)
    floating = left.dtype.kind == right.dtype.kind == "f"
    return left.shape == right.shape and bool(np.array_equal(left, right, equal_nan=floating))


def finite(check: str, found: Array, *, rows: Mapping[str, Array]) -> None:
    """Nothing, when every value of `found` [N, …] is a finite number.

    Raises:
        ParityError: naming the rows that are not.
    """
    wrong = ~np.isfinite(found).all(axis=tuple(range(1, found.ndim)))
    if wrong.any():
        raise ParityError(
            f"check '{check}' failed: every value must be finite, found inf or NaN "
            f"{tell_rows(wrong, rows)}"
        )


def tell_rows(wrong: Any, rows: Mapping[str, Array]) -> str:
    """Which rows are `wrong` [N], and what the first of them hold.

    >>> tell_rows(np.array([False, True]), {"age": np.array([3.0, np.nan])})
    'in 1 of 2 rows: row 1 (age=nan)'
    """
    picked = np.flatnonzero(wrong)
    told = "; ".join(f"row {row} ({_tell_row(rows, int(row))})" for row in picked[:_ROWS_TOLD])
    more = "; …" if len(picked) > _ROWS_TOLD else ""
    return f"in {len(picked)} of {len(wrong)} rows: {told}{more}"


def _tell_row(rows: Mapping[str, Array], row: int) -> str:
    named = list(rows.items())
    cells = [f"{name}={_shorten(values[row])}" for name, values in named[:_COLUMNS_TOLD]]
    more = [f"… {len(named) - _COLUMNS_TOLD} more"] if len(named) > _COLUMNS_TOLD else []
    return ", ".join(cells + more)


def _shorten(value: Any) -> str:
    if isinstance(value, np.ndarray):
        text = (
            "[" + " ".join(f"{one:.4g}" for one in value[:4]) + (" …]" if len(value) > 4 else "]")
        )
    else:
        text = repr(value) if isinstance(value, str) else f"{value}"
    return text if len(text) <= _CHARACTERS_TOLD else text[: _CHARACTERS_TOLD - 1] + "…"
