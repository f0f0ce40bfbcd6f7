"""Noise put on prepared rows while training: what the encoder must see through.

A cell is hit as a whole: all views of a column together, one element of a vector alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.layout import Layout
from training.spec import Corruption

UNKNOWN = 0


class Rows(NamedTuple):
    """Prepared rows: numeric [N, D] float32, ranked [N, R] float32, codes [N, C] int64."""

    numeric: Tensor
    ranked: Tensor
    codes: Tensor


class Corruptor(nn.Module):
    """Corrupts rows by one of `CORRUPTIONS`, then turns some category cells into 'unknown'.

    `rate` is the share of cells hit; for ``gaussian`` it is the deviation of the noise, in
    deviations of the column.
    """

    numeric_units: Tensor
    ranked_units: Tensor
    code_units: Tensor

    def __init__(self, layout: Layout, kind: Corruption, *, rate: float, unknown_rate: float):
        super().__init__()
        self.kind: Corruption = kind
        self.rate, self.unknown_rate, self.units = rate, unknown_rate, layout.units
        for name in ("numeric_units", "ranked_units", "code_units"):
            index = torch.tensor(getattr(layout, name), dtype=torch.int64)
            self.register_buffer(name, index, persistent=False)

    def forward(self, rows: Rows, generator: torch.Generator) -> Rows:
        """A corrupted copy of `rows`, shapes and types unchanged."""
        noisy = CORRUPTIONS[self.kind](self, rows, generator)
        if not self.unknown_rate or not noisy.codes.shape[1]:
            return noisy
        lost = torch.rand(noisy.codes.shape, generator=generator) < self.unknown_rate
        return noisy._replace(codes=noisy.codes.masked_fill(lost, UNKNOWN))

    def hits(self, rows: Rows, generator: torch.Generator) -> Tensor:
        """Cells to be hit, bool [N, units]."""
        return torch.rand((len(rows.codes), self.units), generator=generator) < self.rate


def leave(corruptor: Corruptor, rows: Rows, generator: torch.Generator) -> Rows:
    """The rows as they are."""
    return rows


def swap(corruptor: Corruptor, rows: Rows, generator: torch.Generator) -> Rows:
    """Each hit cell takes the value of the same column in another row of the batch.

    Source: swap noise, Vincent et al. 2008 carried to tables (SCARF, arXiv 2106.15147, section 3:
    corruption by the empirical marginal distribution).
    """
    hit = corruptor.hits(rows, generator)
    donor = torch.randint(len(hit), hit.shape, generator=generator)
    parts = []
    for part, units in zip(rows, _units(corruptor), strict=True):
        swapped = part.gather(0, donor[:, units]) if part.shape[1] else part
        parts.append(torch.where(hit[:, units], swapped, part))
    return Rows(*parts)


def mask(corruptor: Corruptor, rows: Rows, generator: torch.Generator) -> Rows:
    """Each hit cell becomes the column's mean (numbers) or 'unknown' (categories)."""
    hit = corruptor.hits(rows, generator)
    parts = [
        part.masked_fill(hit[:, units], 0)
        for part, units in zip(rows, _units(corruptor), strict=True)
    ]
    return Rows(*parts)


def gaussian(corruptor: Corruptor, rows: Rows, generator: torch.Generator) -> Rows:
    """Normal noise on every number, the same for both views; categories stay."""
    noise = corruptor.rate * torch.randn((len(rows.codes), corruptor.units), generator=generator)
    return Rows(
        rows.numeric + noise[:, corruptor.numeric_units],
        rows.ranked + noise[:, corruptor.ranked_units],
        rows.codes,
    )


def _units(corruptor: Corruptor) -> tuple[Tensor, Tensor, Tensor]:
    return corruptor.numeric_units, corruptor.ranked_units, corruptor.code_units


Corrupt = Callable[[Corruptor, Rows, torch.Generator], Rows]
CORRUPTIONS: dict[Corruption, Corrupt] = {
    "none": leave,
    "swap": swap,
    "mask": mask,
    "gaussian": gaussian,
}
