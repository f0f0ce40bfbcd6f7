"""Numbers as piecewise-linear features, so that a network sees steps where trees would cut."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

MOST_FEATURES = 1024
"""Piecewise-linear features over all columns: wide tables get fewer for each, or none."""

FIRST, LEAST_INTERVAL = 0.01, 1e-3


class Knots(nn.Module):
    """Ranked numbers [N, R] to [N, R x T]: how far each has got through each of T intervals.

    Source: piecewise linear encoding, arXiv 2203.05556, section 3.2 and equation 1. The knots are
    quantiles of a column's distinct values (`fit`), so that a column that is zero nearly everywhere
    has its knots where it is not; before, they are those of the standard normal that `ranked` is.
    """

    low: Tensor
    slope: Tensor

    def __init__(self, columns: int, knots: int):
        super().__init__()
        fitting = min(knots, MOST_FEATURES // max(1, columns)) if columns else 0
        self.columns = columns
        self.intervals = fitting if fitting > 1 else 0
        shares = torch.linspace(FIRST, 1 - FIRST, self.intervals + 1, dtype=torch.float64)
        places = torch.special.ndtri(shares).float().expand(columns, -1)
        self.register_buffer("low", places[:, :-1].clone())
        self.register_buffer("slope", 1 / (places[:, 1:] - places[:, :-1]))

    def fit(self, ranked: npt.NDArray[np.float32]) -> None:
        """Set the knots by rows of the training data, [N, R]."""
        if not self.width:
            return
        for column, values in enumerate(ranked.T):
            distinct = np.unique(values).astype(np.float64)
            if len(distinct) < 2:
                continue
            places = np.quantile(distinct, np.linspace(0, 1, self.intervals + 1))
            self.low[column] = torch.from_numpy(places[:-1])
            self.slope[column] = torch.from_numpy(1 / np.diff(places).clip(LEAST_INTERVAL))

    @property
    def width(self) -> int:
        """Features of a row: R x T."""
        return self.columns * self.intervals

    def forward(self, ranked: Tensor) -> Tensor:
        """0 below an interval, 1 above it, the share passed within, [N, R x T]."""
        passed = (ranked.unsqueeze(-1) - self.low) * self.slope
        return passed.clamp(0, 1).reshape(-1, self.width)
