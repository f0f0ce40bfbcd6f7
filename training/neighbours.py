"""Rows that are alike: whom the contrastive loss brings together.

A neighbour is the nearest of some rows drawn at random, by the distance of principal components.
Drawing before searching costs one small product a step, needs no graph, and takes now this, now
that one of the nearest rows, as a draw among them would.

Source: neighbours as positives of InfoNCE (Dwibedi et al. 2021, arXiv 2104.14548, NNCLR; Damrich
et al. 2023, arXiv 2206.01816), here found in the input and not in the code.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from training.corruption import Rows
from training.layout import Layout
from training.loop import to_rows
from training.matrix import TRAIN, Matrix
from training.principal import Moments, components

POOL_ROWS, POOL_BYTES = 16_384, 64 * 2**20
DRAWN_SHARE, FEWEST_DRAWN, MOST_DRAWN = 0.1, 16, 2048
DIRECTIONS = 30
OWN_SHARE = 0.5
SAME = 1e-5
"""Squared distance, as a share of the mean square of the keys, up to which rows are one and the
same."""


class Neighbours(nn.Module):
    """Training rows held in memory, each with the place that distances are measured in."""

    def __init__(self, pool: Rows, layout: Layout, *, dense: Tensor, hot: Tensor):
        """`dense` [D, q] and `hot` [K, q] take numeric slots and codes to principal components."""
        super().__init__()
        self.pool, self.dense, self.hot = pool, dense, hot
        self.offsets = torch.tensor(layout.offsets, dtype=torch.int64)
        self.centre = torch.zeros(dense.shape[1])
        self.centre = self.place(pool).mean(0)
        self.places = self.place(pool)
        self.same = SAME * float(self.places.square().sum(1).mean())
        share = int(DRAWN_SHARE * len(pool.codes))
        self.drawn = min(max(share, FEWEST_DRAWN), MOST_DRAWN)

    @staticmethod
    def of(matrix: Matrix, layout: Layout, moments: Moments) -> Neighbours:
        """The neighbours of training rows: evenly spread ones, at most 16,384 or 64 MiB."""
        width = matrix.numeric.shape[1] + matrix.ranked.shape[1] + 2 * matrix.codes.shape[1]
        limit = max(2, min(POOL_ROWS, POOL_BYTES // (4 * width)))
        found = components(moments, layout, dim=DIRECTIONS, reads="standardised")
        loadings = found.loadings * found.deviation
        slots = len(layout.numeric_units) + len(layout.ranked_units)
        hot = np.concatenate([loadings[slots:], np.zeros((1, DIRECTIONS))])[moments.kept]
        return Neighbours(
            to_rows(matrix.take(matrix.sample(TRAIN, limit=limit))),
            layout,
            dense=torch.tensor(loadings[: len(layout.numeric_units)], dtype=torch.float32),
            hot=torch.tensor(hot, dtype=torch.float32),
        )

    def place(self, rows: Rows) -> Tensor:
        """Principal components of rows, [N, q]."""
        return rows.numeric @ self.dense + self.hot[rows.codes + self.offsets].sum(1) - self.centre

    def partners(self, rows: Rows, generator: torch.Generator) -> Rows:
        """For each of `rows`, in order, half the time a row like it, else the row itself.

        Neighbours alone blur what tells two of them apart; rows alone tell nothing of groups.
        """
        drawn = torch.randint(len(self.places), (self.drawn,), generator=generator)
        there = self.places[drawn]
        here = self.place(rows)
        apart = here.square().sum(1, keepdim=True) + there.square().sum(1) - 2 * here @ there.T
        nearest = drawn[apart.masked_fill(apart <= self.same, torch.inf).argmin(1)]
        alone = torch.rand((len(here), 1), generator=generator) < OWN_SHARE
        found = (
            torch.where(alone, own, part[nearest])
            for own, part in zip(rows, self.pool, strict=True)
        )
        return Rows(*found)
