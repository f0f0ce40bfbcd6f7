"""How far counts of the same cells are apart, for one pair of rows or for thousands of draws."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.gauging import NULLS, UNKNOWN

Floats = npt.NDArray[np.float64]

# Added to the share of every cell, so that an empty one is not infinitely far from one that is not,
# and equally far whether few rows were counted or many.
_LEAST = 1e-3


def psi(now: Floats, before: Floats) -> Floats:
    """The population stability index: Σ (p - q) ln(p / q) over the cells of [..., K].

    >>> float(psi(np.array([50.0, 50.0]), np.array([50.0, 50.0])))
    0.0
    """
    p, q = _shares(now), _shares(before)
    found: Floats = ((p - q) * np.log(p / q)).sum(axis=-1)
    return found


def _shares(counts: Floats) -> Floats:
    raised = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1) + _LEAST
    found: Floats = raised / raised.sum(axis=-1, keepdims=True)
    return found


def ks(now: Floats, before: Floats) -> Floats:
    """The largest distance of two distribution functions at the edges of ordered cells [..., K].

    Nulls are left out; 0 where nothing but nulls is there.
    """
    p, q = now[..., NULLS + 1 :], before[..., NULLS + 1 :]
    known = np.minimum(p.sum(axis=-1), q.sum(axis=-1)) > 0
    gap = np.abs(_cumulated(p) - _cumulated(q)).max(axis=-1)
    found: Floats = np.where(known, gap, 0.0)
    return found


def _cumulated(counts: Floats) -> Floats:
    found: Floats = np.cumsum(counts, axis=-1) / np.maximum(counts.sum(axis=-1, keepdims=True), 1)
    return found


def nulls(now: Floats, before: Floats) -> Floats:
    """How much the share of nulls differs."""
    found: Floats = np.abs(_share(now, NULLS) - _share(before, NULLS))
    return found


def unknown(now: Floats, before: Floats) -> Floats:
    """How much the share of values that the model never saw has risen."""
    found: Floats = _share(now, UNKNOWN) - _share(before, UNKNOWN)
    return found


def _share(counts: Floats, cell: int) -> Floats:
    found: Floats = counts[..., cell] / np.maximum(counts.sum(axis=-1), 1)
    return found
