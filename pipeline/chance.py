"""What chance alone does: draws of counts in which nothing has drifted.

Rows of one file are alike, so that a file is not as many witnesses as it has rows. A draw first
moves the shares of all cells as blocks of the reference differ among themselves: a multiplier
bootstrap with a Gaussian weight for each block and draw, the same for all columns, divided by a
chi so that few blocks give heavy tails, as in Student's t. Then it draws the rows. What blocks
differ by because they have few rows is taken out first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

DRAWS = 10_000
# With fewer, nothing is known of how blocks differ.
FEWEST_BLOCKS = 4
# From this many rows a cell's count is as good as normal.
_MANY = 25.0
_FIRST_CELLS = 8
# Counts below are not even nearly normal.
_FEWEST_ROWS = 5.0
_LARGEST = 4.0
# Draws of all blocks.
_FEW = 16


@dataclass(frozen=True)
class Spread:
    """How blocks differ in what was counted of them, beyond what their few rows explain.

    `directions` [B, K] are the blocks' distances from their mean, without what is noise of rows;
    `variance` is theirs, in units of the noise of a single row.
    """

    directions: Floats
    variance: float

    @classmethod
    def of_counts(cls, counts: Floats, *, ordered: bool) -> Spread:
        """The spread of blocks with the `counts` [B, K]; empty ones are left out."""
        rows = counts.sum(axis=1)
        counts, rows = counts[rows > 0], rows[rows > 0]
        shares = counts / rows[:, None]
        common = counts.sum(axis=0) / max(1.0, rows.sum())
        free = max(1, int((common > 0).sum()) - 1)
        # A row or two in a cell that hardly any block has are no sign that blocks differ.
        expected = common * (rows.mean() if len(rows) else 0.0)
        trust = np.sqrt(np.minimum(1.0, np.maximum(expected, 1e-12) / _FEWEST_ROWS))
        known = _contrasts(common, ordered=ordered)
        return cls._of(shares, common, rows, known, trust, free=free)

    @classmethod
    def of_values(cls, values: Floats, variance: Floats, rows: Floats) -> Spread:
        """The spread of blocks with the figures `values` [B, K].

        `variance` [K] is that of one row, so that a figure of N rows has a variance / N.
        """
        width = values.shape[1]
        return cls._of(values, variance, rows, np.eye(width), np.ones(width), free=width)

    @classmethod
    def _of(
        cls,
        values: Floats,
        variance: Floats,
        rows: Floats,
        known: Floats,
        trust: Floats,
        *,
        free: int,
    ) -> Spread:
        """The spread of figures of which `free` are not given by the others.

        Noise of rows has variance 1 in every direction once figures are divided by its deviation.
        In the directions `known` [K, k] days are known to differ, and they keep what they may well
        have above 1. Of all others, those with more than noise of as many blocks ever has (the edge
        of Marchenko & Pastur) keep what they truly have above 1, and the rest keeps its average;
        there each figure weighs as much as `trust` [K] says.
        """
        blocks, width = values.shape
        if blocks < FEWEST_BLOCKS:
            return cls(np.zeros((1, width)), 0.0)
        unit = np.sqrt(variance)
        mean = (rows[:, None] * values).sum(axis=0) / rows.sum()
        scaled = np.sqrt(rows)[:, None] * (values - mean) / np.where(unit > 0, unit, np.inf)
        along = scaled @ known
        own = np.square(along).sum(axis=0) / (blocks - 1)
        likely = np.maximum(own * (1 + np.sqrt(2 / (blocks - 1))) - 1, 0)
        directions = (along * np.sqrt(likely / np.maximum(own, 1e-12))) @ known.T
        rest = (scaled - along @ known.T) * trust
        other, real = _without_noise(rest, free=free - known.shape[1])
        typical = float(rows.mean())
        found = (directions + other / trust) * unit / np.sqrt(typical)
        return cls(found, (float(likely.sum()) + real) / typical)


def _without_noise(scaled: Floats, *, free: int) -> tuple[Floats, float]:
    if free < 1:
        return np.zeros_like(scaled), 0.0
    degrees = len(scaled) - 1
    left, sizes, right = np.linalg.svd(scaled, full_matrices=False)
    found, ratio = sizes**2 / degrees, free / degrees
    large = found > (1 + np.sqrt(ratio)) ** 2
    rest = float(found[~large].sum()) / max(1, free - int(large.sum()))
    real = np.where(large, _true(found, ratio) - 1, max(0.0, rest - 1))
    return (left * np.sqrt(real * degrees)) @ right, float(real.sum())


def _true(found: Floats, ratio: float) -> Floats:
    """The variance of a direction that few blocks show as `found`, the largest of many.

    With `ratio` directions a block, noise of 1 in all of them adds to the largest (Baik &
    Silverstein 2006, eq. 1.10, solved for the variance).
    """
    half = (found + 1 - ratio) / 2
    return half + np.sqrt(np.maximum(half**2 - found, 0.0))


def _contrasts(shares: Floats, *, ordered: bool) -> Floats:
    """Directions in which days are known to differ, orthonormal in units of noise, [K, k].

    More or fewer nulls; of ordered cells, all values higher or lower, closer or wider; of others,
    more or fewer of each of the first ones.
    """
    cells = len(shares)
    found = [np.ones(cells), np.arange(cells) == 0]
    if ordered:
        middle = np.cumsum(shares) - shares / 2 - shares[0]
        score = middle / max(1e-12, 1 - shares[0]) - 0.5
        score[0] = 0.0
        found += [score, np.where(np.arange(cells) == 0, 0, score**2)]
    else:
        found += [np.arange(cells) == cell for cell in range(1, min(_FIRST_CELLS, cells))]
    weighted = np.stack(found, axis=1) * np.sqrt(shares)[:, None]
    basis, sizes = np.linalg.qr(weighted)
    return basis[:, 1:][:, np.abs(np.diag(sizes))[1:] > 1e-6]


class Chance:
    """Draws in which nothing has drifted; the same ones for the same `seed`."""

    def __init__(self, *, seed: int, draws: int = DRAWS) -> None:
        self.draws = draws
        self._random = np.random.Generator(np.random.SFC64(seed))
        self._weights: dict[int, Floats] = {}

    def moves(self, spread: Spread, *, files: float, reference: float) -> Floats:
        """How far `files` blocks together lie from `reference` others, [draws, K]."""
        blocks = len(spread.directions)
        if not spread.variance:
            return np.zeros((1, spread.directions.shape[1]))
        if blocks not in self._weights:
            normal = self._random.standard_normal((self.draws, blocks))
            chi = np.sqrt(self._random.chisquare(blocks - 1, self.draws) / (blocks - 1))
            self._weights[blocks] = normal / (np.sqrt(blocks - 1) * chi[:, None])
        scale = np.sqrt(1 / files + 1 / reference)
        found: Floats = scale * (self._weights[blocks] @ spread.directions)
        return found

    def counts(self, shares: Floats, rows: float) -> Floats:
        """Counts of `rows` rows, [draws, K], with the `shares` [K] or [draws, K] of cells."""
        held = np.maximum(shares, 0)
        expected = np.broadcast_to(
            held * (rows / held.sum(axis=-1, keepdims=True)), (self.draws, shares.shape[-1])
        )
        many = expected.mean(axis=0) >= _MANY
        found: Floats = self._random.standard_normal(expected.shape)
        found = np.maximum(found * np.sqrt(expected) + expected, 0)
        if not many.all():
            found[:, ~many] = self._random.poisson(expected[:, ~many])
        return found

    def blocks(self, counts: Floats) -> Floats:
        """Counts of blocks with as many rows as those in `counts` [B, K], and all the same shares.

        Shape:
            [few, B, K]; the blocks themselves make it enough.
        """
        shares = counts.sum(axis=0) / max(1.0, counts.sum())
        expected = counts.sum(axis=1)[:, None] * shares
        found: Floats = self._random.poisson(expected, (_FEW, *expected.shape)).astype(np.float64)
        return found

    def noise(self, variance: Floats, rows: Floats) -> Floats:
        """Means of blocks of `rows` [B] rows that have `variance` [K] and mean 0, [few, B, K]."""
        spread = np.sqrt(variance / np.maximum(rows, 1)[:, None])
        found: Floats = self._random.standard_normal((_FEW, *spread.shape)) * spread
        return found

    def normal(self, width: int) -> Floats:
        """Standard normal numbers, [draws, `width`]."""
        found: Floats = self._random.standard_normal((self.draws, width))
        return found


def tilted(shares: Floats, moves: Floats) -> Floats:
    """The `shares` [K] moved by `moves` [draws, K], so that none falls below nothing.

    To first order the moves are added. A large one becomes a change of odds, as values that all
    grow by so much make it; of a cell that more than doubles it is not known that they do.
    """
    relative = moves / np.maximum(shares, 1e-12) * (shares > 0)
    odds = np.exp(np.clip(relative, -_LARGEST, 1.0))
    found: Floats = shares * odds * np.clip(relative, 1.0, _LARGEST)
    return found
