"""Courses of the learning rate over a run: a share of the peak for each step."""

from __future__ import annotations

import math
from collections.abc import Callable

from training.spec import Schedule

WARM_SHARE = 0.15
FLOOR = 1e-3


def one_cycle(progress: float) -> float:
    """Up along half a cosine for the first 15 % of the run, then down to nearly nothing.

    Source: Smith & Topin, "Super-convergence", arXiv 1708.07120, with cosine legs.

    >>> [round(one_cycle(p), 2) for p in (0.0, 0.15, 1.0)]
    [0.04, 1.0, 0.0]
    """
    if progress < WARM_SHARE:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * progress / WARM_SHARE))
    return cosine((progress - WARM_SHARE) / (1 - WARM_SHARE))


def cosine(progress: float) -> float:
    """Down from the peak to nearly nothing along half a cosine.

    >>> [round(cosine(p), 2) for p in (0.0, 0.5, 1.0)]
    [1.0, 0.5, 0.0]
    """
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * progress))


def constant(progress: float) -> float:
    """The peak throughout."""
    return 1.0


SCHEDULES: dict[Schedule, Callable[[float], float]] = {
    "one_cycle": one_cycle,
    "cosine": cosine,
    "constant": constant,
}
