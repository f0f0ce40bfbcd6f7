"""Rank-gauss: a monotone, piecewise-linear map that gives a column a normal distribution.

After Jahrer, "1st place with representation learning", Porto Seguro Safe Driver Prediction, 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.graph import FLOAT, GraphBuilder

KNOTS = 16
HUGE = 1e300
_TAIL = 3.0

Floats = npt.NDArray[np.float64]


class Curve(NamedTuple):
    """The map of one column: ascending knots and their levels; empty where there is no map."""

    knots: tuple[float, ...]
    levels: tuple[float, ...]


NO_CURVE = Curve((), ())


def fit(values: Floats) -> Curve:
    """The curve that gives `values` (ascending) a normal distribution of variance 1.

    The knots are quantiles at equal steps of the normal distribution, three deviations to either
    side. Tied values share the level of their middle rank. A column of two values or fewer gets
    no curve: it would be a copy of the standardised one.
    """
    if not len(values):
        return NO_CURVE
    normal = NormalDist()
    at = [normal.cdf(z) for z in np.linspace(-_TAIL, _TAIL, KNOTS)]
    knots = np.unique(np.quantile(values, at))
    if len(knots) < 3:
        return NO_CURVE
    first = np.searchsorted(values, knots, side="left")
    last = np.searchsorted(values, knots, side="right")
    rank = np.clip((first + last) / (2 * len(values)), at[0], at[-1])
    raw = np.array([normal.inv_cdf(p) for p in rank])
    mapped = np.interp(values, knots, raw)
    levels = (raw - mapped.mean()) / max(mapped.std(), 1e-6)
    return Curve(tuple(knots.tolist()), tuple(levels.astype(np.float32).tolist()))


def forward(g: GraphBuilder, curves: Sequence[Curve], x: str) -> str:
    """Add the ops from `x` f64 [R, N] to levels f32 [R, N]: a sum of ramps, one a pair of knots.

    Elementwise on rows that stay in cache: a binary search for the right pair costs four times
    more, because Gather is slow on single numbers (docs/adr/0006).
    """
    ramps = [_Ramps.of(curve) for curve in curves]
    centre = g.constant([[r.centre] for r in ramps], np.float64)
    scale = g.constant([[r.scale] for r in ramps], np.float64)
    # Centred in float64, and clipped before it narrows, so that it stays finite.
    centred = g("Sub", g("Clip", x, *limits(g, HUGE, np.float64)), centre)
    scaled = g("Clip", g("Div", centred, scale), *limits(g, 1e30, np.float64))
    narrow = g("Cast", scaled, to=FLOAT)
    level = g.constant([[r.lowest] for r in ramps], np.float32)
    zero, one = g.constant(0, np.float32), g.constant(1, np.float32)
    for k in range(max(len(r.start) for r in ramps)):
        past = g("Sub", narrow, _column(g, [r.start for r in ramps], k))
        share = g("Clip", g("Mul", past, _column(g, [r.gain for r in ramps], k)), zero, one)
        level = g("Add", level, g("Mul", share, _column(g, [r.rise for r in ramps], k)))
    return level


def limits(g: GraphBuilder, bound: float, dtype: Any) -> tuple[str, str]:
    """The constants from minus `bound` to `bound`, as Clip takes them."""
    return g.constant(-bound, dtype), g.constant(bound, dtype)


def _column(g: GraphBuilder, rows: Sequence[npt.NDArray[np.float32]], k: int) -> str:
    """Number `k` of every row, [R, 1]; 0 where a row is shorter, so that its ramp adds nothing."""
    return g.constant([[row[k] if k < len(row) else 0.0] for row in rows], np.float32)


@dataclass(frozen=True)
class _Ramps:
    """A curve as ramps from `start`, each rising by `rise` over ``1 / gain``."""

    centre: float
    scale: float
    lowest: float
    start: npt.NDArray[np.float32]
    gain: npt.NDArray[np.float32]
    rise: npt.NDArray[np.float32]

    @classmethod
    def of(cls, curve: Curve) -> _Ramps:
        raw, levels = np.array(curve.knots), np.array(curve.levels, np.float32)
        quarter = len(raw) // 4
        centre = float(raw[len(raw) // 2])
        with np.errstate(over="ignore"):
            scale = float(min(max(raw[-1 - quarter] - raw[quarter], 1e-300), HUGE))
            knots = np.clip((raw - centre) / scale, -1e30, 1e30).astype(np.float32)
        width = np.maximum(np.diff(knots), np.float32(1e-30))
        gain = (1 / width).astype(np.float32)
        return cls(centre, scale, float(levels[0]), knots[:-1], gain, np.diff(levels))
