"""Statistics of a stream in bounded memory: moments, a uniform sample of rows, counted values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CLIP = 5.0
SAMPLE_BYTES = 64 * 2**20
SAMPLE_ROWS = 65_536
# What lies beyond is taken for infinite: sums of its squares are.
FARTHEST = 1e140


class Moments:
    """Count, mean and variance of every column of a stream of ``[n, F]`` blocks.

    NaN is left out, and so is what is infinite or beyond `FARTHEST`, which is counted. Blocks are
    merged by Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances", 1979.
    """

    def __init__(self, width: int) -> None:
        self.rows = 0
        self.count = np.zeros(width)
        self.mean = np.zeros(width)
        self._squares = np.zeros(width)
        self.infinite = np.zeros(width, np.int64)

    def add(self, block: Floats) -> None:
        """Take in a block of shape [n, F]."""
        self.rows += len(block)
        far = np.abs(block)
        finite = far <= FARTHEST
        self.infinite += (far > FARTHEST).sum(axis=0)
        count = finite.sum(axis=0)
        safe = np.maximum(count, 1)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.where(finite, block / safe, 0.0).sum(axis=0)
            squares = np.where(finite, block - mean, 0.0)
            squares = np.einsum("ij,ij->j", squares, squares)
            total = np.maximum(self.count + count, 1)
            delta = mean - self.mean
            merged = self._squares + squares + delta**2 * self.count * count / total
        seen = count > 0
        self._squares = np.where(seen, merged, self._squares)
        self.mean = np.where(seen, self.mean + delta * count / total, self.mean)
        self.count = self.count + count

    @property
    def deviation(self) -> Floats:
        """Standard deviation of every column; 0 where it is constant, to rounding."""
        variance = self._squares / np.maximum(self.count, 1)
        deviation = np.sqrt(np.where(np.isfinite(variance), variance, 0.0))
        noise = 1e-13 * np.abs(self.mean)
        return np.where(deviation > noise, deviation, 0.0)


def common_deviation(deviation: Floats) -> float:
    """Root mean square of the elements' deviations: the one scale of an image.

    Neighbours in an image must stay comparable, and what hardly varies must stay faint.
    """
    return float(np.sqrt(np.mean(deviation**2)))


def image_limit(deviation: Floats) -> float:
    """Where an image's values are cut off: so many common deviations as are 5 of any element's.

    A small figure on a large ground has elements that vary much more than the common deviation.
    """
    return CLIP * float(deviation.max()) / (common_deviation(deviation) or 1.0) or CLIP


class RowSample:
    """A uniform sample of the rows of a stream, the same for any division into blocks.

    Every row draws a number; the rows with the smallest ones stay (bottom-k sampling).
    """

    def __init__(self, width: int, *, seed: int = 0) -> None:
        affordable = SAMPLE_BYTES // (8 * max(width, 1))
        self._size = int(min(SAMPLE_ROWS, max(4_096, affordable)))
        self._random = np.random.default_rng(seed)
        self._draws = np.empty(0)
        self._rows = np.empty((0, width))

    def add(self, block: Floats) -> None:
        """Take in a block of shape [n, F]."""
        draws = self._random.random(len(block))
        limit = self._draws.max() if len(self._draws) >= self._size else 1.0
        taken = draws < limit
        self._draws = np.concatenate([self._draws, draws[taken]])
        self._rows = np.concatenate([self._rows, block[taken]])
        if len(self._draws) > self._size:
            kept = np.argpartition(self._draws, self._size)[: self._size]
            self._draws, self._rows = self._draws[kept], self._rows[kept]

    def column(self, index: int) -> Floats:
        """The sampled values of one column, in ascending order, without what is not finite."""
        values = self._rows[:, index]
        return np.sort(values[np.abs(values) <= FARTHEST])
