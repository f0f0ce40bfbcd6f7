"""Gauges: cut where the values of a reference lie, then used to count any values.

Cells are cut at the reference's own quantiles: every cell of a number holds about as many rows of
it, whatever the unit or the spread, and what is outside of all it ever had is counted apart.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.feed import NULL_INT
from pipeline.profile import Gauge

CELLS = 16
FREQUENT = 24
UNKNOWN_CODE, NULL_CODE, RARE_CODE = 0, 1, 2
NULLS, UNKNOWN, OTHERS, FIRST = 0, 1, 2, 3
_HOUR, _HOURS = 3_600_000_000, 24

Values = npt.NDArray[np.generic]
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def edges_of(values: Values) -> tuple[float, ...]:
    """The edges of about `CELLS` cells that each hold as many of `values`, [N]; NaN is left out.

    A value that fills more than a cell gets one of its own.

    >>> edges_of(np.array([0.0, 0.0, 1.0, 3.0]))
    (0.0, 1.0, 3.0, 3.0000000000000004)
    """
    wide = values.astype(np.float64)
    known = np.sort(wide[np.isfinite(wide)])
    if not len(known):
        return ()
    starts = np.unique(known)
    if len(starts) > CELLS:
        at = known[(np.arange(CELLS) * len(known)) // CELLS]
        starts, repeats = np.unique(at, return_counts=True)
        ends = np.nextafter(starts[repeats > 1], np.inf)
        starts = np.unique(np.concatenate([starts, ends[ends <= known[-1]]]))
    last = np.nextafter(known[-1], np.inf)
    return (*map(float, starts), *([float(last)] if np.isfinite(last) else []))


def frequent_codes(codes: Values) -> tuple[int, ...]:
    """The codes of a category that stand most often in `codes`, [N], the most frequent first."""
    found, counts = np.unique(codes.astype(np.int64), return_counts=True)
    own = found > RARE_CODE
    order = np.lexsort((found[own], -counts[own]))[:FREQUENT]
    return tuple(map(int, found[own][order]))


def count(gauge: Gauge, values: Values) -> tuple[int, ...]:
    """How many of `values`, [N], fall into each cell.

    Numbers have NaN for null, times are microseconds with INT64_MIN, categories are codes.
    """
    if gauge.kind == "category":
        cells = _category_cells(gauge, values.astype(np.int64, copy=False))
    elif gauge.kind == "timestamp":
        cells = _time_cells(gauge, values.astype(np.int64, copy=False))
    else:
        cells = _number_cells(gauge, values)
    return tuple(map(int, np.bincount(cells, minlength=gauge.cells)))


def _number_cells(gauge: Gauge, values: Values) -> Counts:
    wide = values.astype(np.float64, copy=False)
    cells: Counts = np.searchsorted(np.array(gauge.edges), wide, side="right") + 1
    cells[np.isnan(wide)] = NULLS
    return cells


def _time_cells(gauge: Gauge, micros: Counts) -> Counts:
    cells: Counts = micros // _HOUR % _HOURS + 2
    if gauge.edges:
        cells[micros < gauge.edges[0]] = 1
    cells[micros == NULL_INT] = NULLS
    return cells


def _category_cells(gauge: Gauge, codes: Counts) -> Counts:
    cells = np.full(len(codes), OTHERS, np.int64)
    cells[codes == NULL_CODE] = NULLS
    cells[codes == UNKNOWN_CODE] = UNKNOWN
    if gauge.codes:
        kept = np.array(gauge.codes)
        order = np.argsort(kept)
        at = np.minimum(np.searchsorted(kept[order], codes), len(kept) - 1)
        known = kept[order][at] == codes
        cells[known] = FIRST + order[at[known]]
    return cells


def norms(vectors: npt.NDArray[np.float32]) -> Floats:
    """The length of every vector of [N, L], NaN where one is null."""
    found: Floats = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    return found


def means(vectors: npt.NDArray[np.float32]) -> Floats:
    """The mean element of every vector of [N, L], NaN where one is null."""
    found: Floats = vectors.mean(axis=1, dtype=np.float64)
    return found
