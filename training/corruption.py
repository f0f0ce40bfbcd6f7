"""Noise put on prepared rows while training: what the encoder must see through.

A cell is hit as a whole: all views of a column together, one element of a vector alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.layout import Image, Layout
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
    deviations of the column, for ``blocks`` also the share of each image that is hidden.
    """

    numeric_units: Tensor
    ranked_units: Tensor
    code_units: Tensor
    pixels: Tensor

    def __init__(self, layout: Layout, kind: Corruption, *, rate: float, unknown_rate: float):
        super().__init__()
        self.kind: Corruption = kind
        self.rate, self.unknown_rate, self.units = rate, unknown_rate, layout.units
        for name in ("numeric_units", "ranked_units", "code_units"):
            index = torch.tensor(getattr(layout, name), dtype=torch.int64)
            self.register_buffer(name, index, persistent=False)
        # An image of one point has no blocks: it is a cell like others.
        self.images = tuple(one for one in layout.images if one.height * one.width > 1)
        pixels = torch.zeros(len(layout.numeric_units), dtype=torch.bool)
        pixels[[slot for image in self.images for slot in image.slots if slot >= 0]] = True
        self.register_buffer("pixels", pixels, persistent=False)

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


def blocks(corruptor: Corruptor, rows: Rows, generator: torch.Generator) -> Rows:
    """Each image loses a block to the mean image; all other cells are swapped as by ``swap``.

    A single pixel is told by its neighbours; a block must be guessed from the figure. Source:
    Pathak et al. 2016, context encoders (arXiv 1604.07379, section 3.3).
    """
    noisy = swap(corruptor, rows, generator)
    numeric = torch.where(corruptor.pixels, rows.numeric, noisy.numeric)
    for image in corruptor.images:
        hidden = _block(image, len(numeric), corruptor.rate, generator)
        slots = torch.tensor(image.slots)
        varying = slots >= 0
        own = slots[varying]
        numeric[:, own] = numeric[:, own].masked_fill(hidden[:, varying], 0)
    return noisy._replace(numeric=numeric)


def _block(image: Image, rows: int, rate: float, generator: torch.Generator) -> Tensor:
    """Elements that lie in one block of each row's image, bool [rows, elements]."""
    inside = []
    for side in (image.height, image.width):
        length = max(1, round(rate**0.5 * side))
        first = torch.randint(side - length + 1, (rows, 1), generator=generator)
        place = torch.arange(side)
        inside.append((place >= first) & (place < first + length))
    points: Tensor = inside[0][:, :, None] & inside[1][:, None, :]
    return points.reshape(rows, -1).repeat(1, image.channels)


def _units(corruptor: Corruptor) -> tuple[Tensor, Tensor, Tensor]:
    return corruptor.numeric_units, corruptor.ranked_units, corruptor.code_units


Corrupt = Callable[[Corruptor, Rows, torch.Generator], Rows]
CORRUPTIONS: dict[Corruption, Corrupt] = {
    "none": leave,
    "swap": swap,
    "mask": mask,
    "gaussian": gaussian,
    "blocks": blocks,
}
