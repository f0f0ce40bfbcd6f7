"""Shuffled batches of a matrix that is larger than memory, one for each gradient step."""

from __future__ import annotations

import numpy as np

from training.matrix import TRAIN, Batch, Indices, Matrix, cut, joined

ROWS_PER_BLOCK = 512
BLOCKS_IN_MEMORY = 128


class Shuffled:
    """The batches of a matrix's training rows, or of some `rows`, a pure function of seed and step.

    Each epoch permutes blocks of consecutive rows, reads some of them into memory and permutes
    the rows in there, so that disk is read in blocks and a run can resume at any step.
    """

    def __init__(
        self, matrix: Matrix, *, rows_per_batch: int, seed: int, rows: Indices | None = None
    ):
        self._matrix, self._seed = matrix, seed
        self._rows = matrix.where(TRAIN) if rows is None else rows
        self.rows_per_batch = min(rows_per_batch, max(1, len(self._rows)))
        # What is left over at the end of an epoch is dropped; it differs from epoch to epoch.
        self.batches_per_epoch = max(1, len(self._rows) // self.rows_per_batch)
        self._group = (-1, -1)
        self._held: Batch | None = None

    def __len__(self) -> int:
        """Training rows."""
        return len(self._rows)

    def batch(self, step: int) -> Batch:
        """The rows of gradient step `step`, from 0."""
        epoch, place = divmod(step, self.batches_per_epoch)
        first = place * self.rows_per_batch
        size = ROWS_PER_BLOCK * BLOCKS_IN_MEMORY
        taken: list[Batch] = []
        last = first + self.rows_per_batch
        while first < last:
            group, inside = divmod(first, size)
            held = self._hold(epoch, group)
            until = min(inside + last - first, len(held.labels))
            taken.append(_part(held, inside, until))
            first += until - inside
        return taken[0] if len(taken) == 1 else joined(taken)

    def _hold(self, epoch: int, group: int) -> Batch:
        if self._held is None or self._group != (epoch, group):
            order = self._order(epoch)[group * BLOCKS_IN_MEMORY : (group + 1) * BLOCKS_IN_MEMORY]
            starts = order[:, None] * ROWS_PER_BLOCK + np.arange(ROWS_PER_BLOCK)
            places = starts[starts < len(self._rows)]
            rows = np.random.default_rng([self._seed, epoch, group]).permutation(self._rows[places])
            self._held = None  # so that only one group is in memory at a time
            self._held, self._group = self._matrix.batch(rows), (epoch, group)
        return self._held

    def _order(self, epoch: int) -> Indices:
        """Blocks in the order of an epoch; the short one comes last, so that groups are full."""
        full, rest = divmod(len(self._rows), ROWS_PER_BLOCK)
        order = np.random.default_rng([self._seed, epoch]).permutation(full)
        return np.append(order, [full] * (rest > 0)).astype(np.int64)


def _part(batch: Batch, first: int, last: int) -> Batch:
    return Batch(cut(batch.rows, first, last), batch.labels[first:last])
