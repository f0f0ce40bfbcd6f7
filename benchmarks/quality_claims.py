"""What the figures of `quality.py` say: leads with paired intervals, and what they add up to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

WIDE = 256  # raw columns from which a table is called wide
TIMED = ("linear", "SVM", "MLP", "trees")  # nearest neighbours learn nothing


class Lead(NamedTuple):
    """How far one score is ahead of another, in points, with its 95 % bootstrap interval."""

    points: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Ahead or behind when the interval excludes zero, level otherwise."""
        if self.low > 0:
            return "ahead"
        return "behind" if self.high < 0 else "level"

    def __str__(self) -> str:
        return f"{self.points:+.1f} [{self.low:+.1f}, {self.high:+.1f}] {self.verdict}"


def lead(ours: Floats, theirs: Floats) -> Lead:
    """The lead of `ours` over `theirs`, each [seeds, 1 + resamples] on the same resampled rows."""
    return summarise(100 * (over_seeds(ours) - over_seeds(theirs)))


def over_seeds(lines: Floats) -> Floats:
    """The mean over seeds, [1 + resamples]; every resample draws seeds too, as well as rows."""
    seeds, count = lines.shape
    drawn = np.random.default_rng(seeds).integers(seeds, size=(seeds, count))
    drawn[:, 0] = np.arange(seeds)
    mean: Floats = np.take_along_axis(lines, drawn, axis=0).mean(axis=0)
    return mean


def summarise(points: Floats) -> Lead:
    """A difference in points and its resamples, [1 + resamples], as a lead."""
    low, high = np.nanquantile(points[1:], [0.025, 0.975])
    return Lead(float(points[0]), float(low), float(high))


def mean_lead(pairs: Iterable[tuple[Floats, Floats]]) -> Lead:
    """The mean of the leads over tables; tables are fixed, their rows and seeds are resampled."""
    return summarise(np.mean([100 * (over_seeds(a) - over_seeds(b)) for a, b in pairs], axis=0))


def best_rival(ours: Floats, rivals: Mapping[str, Floats]) -> tuple[str, Lead]:
    """The rival that `ours` is least ahead of by the lower end, and the lead over it.

    Ahead of it is ahead of all of them.
    """
    leads = {name: lead(ours, lines) for name, lines in rivals.items()}
    name = min(leads, key=lambda one: (leads[one].low, one))
    return name, leads[name]


def tally(leads: Iterable[Lead]) -> dict[str, int]:
    """How many are ahead, level and behind.

    >>> tally([Lead(2, 1, 3), Lead(0, -1, 1)])
    {'ahead': 1, 'level': 1, 'behind': 0}
    """
    verdicts = [one.verdict for one in leads]
    return {name: verdicts.count(name) for name in ("ahead", "level", "behind")}


def geometric_mean(values: Iterable[float]) -> float | None:
    """The geometric mean; None of nothing.

    >>> round(geometric_mean([1, 100]), 6)
    10.0
    """
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else None


def break_even(*, spent: float, saved: float) -> int | None:
    """Fits after which `spent` seconds are earned back at `saved` seconds a fit; None: never.

    >>> break_even(spent=10, saved=3), break_even(spent=-1, saved=3), break_even(spent=1, saved=0)
    (4, 0, None)
    """
    if spent <= 0:
        return 0
    return math.ceil(spent / saved) if saved > 0 else None


@dataclass(frozen=True)
class Agreement:
    """Whether the choice without a label would have been made with it.

    `names` are the candidates. `correlation` is Spearman's, of their scores on the two criteria;
    None where one of them tells no candidates apart. `chosen` and `best` are picked without and
    with the label; `lost` is how many points of the label's probe that cost.
    """

    names: tuple[str, ...]
    correlation: float | None
    chosen: str
    best: str
    lost: float


def agreement(unlabelled: dict[str, Any], labelled: dict[str, Any]) -> Agreement | None:
    """Two records of `training.selection` on the same candidates; None for one candidate."""
    names = [name for name in unlabelled.get("scores", {}) if name in labelled.get("scores", {})]
    if len(names) < 2:
        return None
    own = [unlabelled["scores"][name] for name in names]
    true = [labelled["scores"][name] for name in names]
    best = names[int(np.argmax(true))]
    chosen = unlabelled["winner"]
    lost = 100 * (max(true) - labelled["scores"].get(chosen, math.nan))
    return Agreement(tuple(names), spearman(own, true), chosen, best, round(lost, 3))


def spearman(first: list[float], second: list[float]) -> float | None:
    """Spearman's rank correlation; None where one of the lists is constant.

    >>> spearman([1, 2, 3], [10, 30, 20])
    0.5
    """
    from scipy.stats import spearmanr

    if len(set(first)) < 2 or len(set(second)) < 2:
        return None
    return round(float(spearmanr(first, second).statistic), 3)
