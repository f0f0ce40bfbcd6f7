"""How the values of one column are distributed: what generated rows are mapped onto."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DISCRETE = 128
"""A column of at most so many different values takes only these."""

_DECIMALS = 6
_MICROS = (86_400_000_000, 3_600_000_000, 60_000_000, 1_000_000, 1_000)
# Equal shares, and finer ones towards both ends, where one share may span most of the range.
_TAIL = 2.0 ** -np.arange(8, 17)
GRID = np.unique(np.concatenate([np.linspace(0, 1, DISCRETE + 1), _TAIL, 1 - _TAIL]))

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Marginal:
    """A quantile function.

    With `ranks`, the only values there are, ascending, and the share of rows up to each; without,
    the quantiles at `GRID`, in between straight lines, and all values multiples of `step` if that
    is not 0. No values: nothing is known.
    """

    values: tuple[float, ...] = ()
    ranks: tuple[float, ...] = ()
    step: float = 0.0

    def at(self, share: Floats) -> Floats:
        """The values that stand at each `share` of the rows, from 0 to 1."""
        values = np.array(self.values)
        if self.ranks:
            places = np.searchsorted(np.array(self.ranks), share, side="right")
            found: Floats = values[np.minimum(places, len(values) - 1)]
            return found
        found = np.interp(share, GRID, values)
        if self.step:
            # A division by a whole number is exact where a product with a decimal is not.
            each = round(1 / self.step) if self.step < 1 else 1
            found = np.rint(found * each) / each if each > 1 else _multiple(found, self.step)
        return np.clip(found, values[0], values[-1])


def _multiple(values: Floats, step: float) -> Floats:
    rounded: Floats = np.rint(values / step) * step
    return rounded


def fit(values: Floats, *, kind: str) -> Marginal:
    """The distribution of `values` (ascending, finite) of a number or timestamp column."""
    if not len(values):
        return Marginal()
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= DISCRETE:
        ranks = np.cumsum(counts) / len(values)
        return Marginal(tuple(distinct.tolist()), tuple(ranks.tolist()))
    step = _time_step(distinct) if kind == "timestamp" else _number_step(distinct)
    return Marginal(tuple(np.quantile(values, GRID).tolist()), step=step)


def _number_step(values: Floats) -> float:
    """The coarsest power of ten, at most 1, of which all values are multiples; 0 if none is."""
    if np.abs(values).max() >= 2**52:
        return 1.0
    for decimals in range(_DECIMALS + 1):
        if np.array_equal(np.round(values, decimals), values):
            return float(10.0**-decimals)
    return 0.0


def _time_step(micros: Floats) -> float:
    """The longest of day, hour, minute, second, millisecond of which all are multiples; else 1."""
    return float(next((step for step in _MICROS if not (micros % step).any()), 1))
