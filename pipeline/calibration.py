"""Drawn rows keep the shares of the training table, whatever the decoder makes of its codes.

A decoder says how values hang together; how often each one stands in its column was counted. Three
corrections bring the two together, each fitted once to a pilot of decoded rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_POINTS = 1_025
_SMALLEST = 1e-6
_STEPS, _CLOSE = 200, 1e-5
_BOUND = 60.0


@dataclass(frozen=True)
class Ranks:
    """The distribution of a drawn number before it gets its column's own: quantiles of a pilot."""

    quantiles: Floats

    @classmethod
    def of(cls, pilot: Floats) -> Ranks:
        """The distribution of `pilot` [rows]."""
        return cls(np.quantile(pilot, _SHARES))

    def __call__(self, values: Floats, ties: Floats) -> Floats:
        """The share of rows below each of `values` [N]; `ties` in 0…1 rank where all are equal."""
        if self.quantiles[-1] - self.quantiles[0] < _SMALLEST:
            return ties
        found: Floats = np.interp(values, self.quantiles, _SHARES)
        return found


_SHARES = np.linspace(0, 1, _POINTS)


def log_odds(share: npt.NDArray[np.floating]) -> Floats:
    """The log odds of probabilities, those of 0 and 1 held to one in a million.

    >>> log_odds(np.array([0.5, 0.9])).round(3).tolist()
    [0.0, 2.197]
    """
    held = np.clip(share.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
    found: Floats = np.log(held) - np.log1p(-held)
    return found


def shift(odds: Floats, rate: float) -> float:
    """What to add to the log odds `odds` [rows] so that their mean probability is `rate`."""
    if not 0 < rate < 1:
        return _BOUND if rate >= 1 else -_BOUND
    points = np.quantile(odds, _SHARES) if len(odds) > 8 * _POINTS else odds
    low, high = -_BOUND, _BOUND
    for _ in range(50):
        middle = (low + high) / 2
        if probability(points + middle).mean() < rate:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def probability(odds: Floats) -> Floats:
    """The probabilities of log odds."""
    found: Floats = 0.5 * (1 + np.tanh(0.5 * odds))
    return found


def shifts(logits: npt.NDArray[np.float32], shares: Floats) -> npt.NDArray[np.float32]:
    """What to add to the `logits` [rows, classes] so that the mean of each class is its share.

    Minus infinity for a class that has no share. Each step moves every class by the logarithm of
    what it lacks, as iterative proportional fitting does.
    """
    wanted = shares / shares.sum()
    alive = wanted > 0
    odds = np.exp(np.maximum(logits - logits.max(axis=1, keepdims=True), -_BOUND))[:, alive]
    moved = np.zeros(int(alive.sum()))
    for _ in range(_STEPS):
        weights = np.exp(moved).astype(np.float32)
        found = weights * (odds.T @ (1 / (odds @ weights))) / len(odds)
        if np.abs(found - wanted[alive]).max() < _CLOSE:
            break
        lacking = np.log(wanted[alive]) - np.log(np.maximum(found, _SMALLEST))
        moved = np.clip(moved + lacking, -_BOUND, _BOUND)
    every = np.full(len(shares), -np.inf, np.float32)
    every[alive] = moved
    return every


def chances(
    logits: npt.NDArray[np.float32], moved: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """The probability of each class [rows, classes]."""
    raised = logits + moved
    raised -= raised.max(axis=1, keepdims=True)
    np.exp(raised, out=raised)
    raised /= raised.sum(axis=1, keepdims=True)
    return raised
