"""How well predictions fit a label, with a standard error from resampled test rows.

All scores of one evaluation use the same resamples, so that the difference of two of them has a
standard error of its own: rows that are hard for everybody cancel out.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Task = Literal["two classes", "classes", "numbers"]
Floats = npt.NDArray[np.float64]
Array = npt.NDArray[np.generic]

METRICS: dict[Task, str] = {
    "two classes": "ROC AUC",
    "classes": "accuracy",
    "numbers": "R²",
}


def resample(rows: int, *, resamples: int = 200, seed: int = 0) -> Floats:
    """How often each test row counts: once in the first line, then as the bootstrap drew it.

    Shape:
        [1 + resamples, rows] float64; every line sums to `rows`.

    >>> resample(4, resamples=2).sum(axis=1)
    array([4., 4., 4.])
    """
    drawn = np.random.default_rng(seed).multinomial(rows, np.full(rows, 1 / rows), resamples)
    return np.concatenate([np.ones((1, rows)), drawn.astype(np.float64)])


def score(task: Task, label: Array, predicted: Array, weights: Floats) -> Floats:
    """The score under each line of `weights` [lines, rows]: METRICS[task], [lines] float64.

    `label` [rows] holds class numbers or values; `predicted` [rows] the score of class 1, the
    class number, or the value.
    """
    if task == "two classes":
        return roc_auc(label, predicted, weights)
    if task == "classes":
        right: Floats = weights @ (label == predicted) / weights.sum(axis=1)
        return right
    return r_squared(label, predicted, weights)


def roc_auc(label: Array, predicted: Array, weights: Floats) -> Floats:
    """Area under the ROC curve for labels 0 and 1, ties counted half; NaN without both classes.

    Equals the Mann–Whitney statistic: the chance that a row of class 1 is scored above a row of
    class 0 (Hanley & McNeil 1982).

    >>> label, predicted = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
    >>> float(roc_auc(label, predicted, np.ones((1, 4)))[0])
    0.75
    """
    order = np.argsort(predicted, kind="stable")
    sorted_scores, positive = predicted[order], label[order] == 1
    starts = np.flatnonzero(np.r_[True, sorted_scores[1:] != sorted_scores[:-1]])
    drawn = weights[:, order]
    ones = np.add.reduceat(drawn * positive, starts, axis=1)
    zeros = np.add.reduceat(drawn * ~positive, starts, axis=1)
    below = np.cumsum(zeros, axis=1) - zeros / 2
    with np.errstate(invalid="ignore"):
        area: Floats = (ones * below).sum(axis=1) / (ones.sum(axis=1) * zeros.sum(axis=1))
    return area


def r_squared(label: Array, predicted: Array, weights: Floats) -> Floats:
    """Share of the label's variance that the prediction explains; NaN for a constant label.

    >>> r_squared(np.array([1.0, 3.0]), np.array([2.0, 2.0]), np.ones((1, 2)))
    array([0.])
    """
    value = label.astype(np.float64)
    total = weights.sum(axis=1)
    mean = weights @ value / total
    variance = weights @ value**2 / total - mean**2
    error = weights @ (value - predicted.astype(np.float64)) ** 2 / total
    with np.errstate(invalid="ignore", divide="ignore"):
        explained: Floats = np.where(variance > 0, 1 - error / variance, np.nan)
    return explained


def standard_error(replicates: Floats) -> float:
    """Spread of a score over the resampled lines (all but the first), 0 when there are none.

    >>> standard_error(np.array([0.9, 0.8, 1.0, np.nan]))
    0.1
    """
    drawn = replicates[1:][np.isfinite(replicates[1:])]
    return round(float(drawn.std()), 12) if len(drawn) > 1 else 0.0
