"""How a reconstruction is judged, column by column: squared error, Bernoulli, categorical.

Every column weighs the same however many slots it has, missing cells do not count, and each loss
is divided by what the best constant would lose, so that no kind of column drowns another.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.corruption import Rows
from training.layout import Layout

RARE = 2
LEAST_ENTROPY = 0.1
"""Nats; columns that hardly vary are not blown up beyond this."""


class Decoded(NamedTuple):
    """A reconstruction in prepared space: numeric [N, D], ranked [N, R], logits [N, K]."""

    numeric: Tensor
    ranked: Tensor
    logits: Tensor


class Likelihood(nn.Module):
    """Reads the decoder's parameters [N, D + R + K] as values, losses and errors of the columns.

    Binary slots (booleans, missing indicators) take a logit, category columns one logit per class,
    all other slots their value.
    """

    binary: Tensor
    low: Tensor
    high: Tensor
    weights: Tensor
    code_weights: Tensor
    column_weights: Tensor
    missing: Tensor
    maskable: Tensor

    def __init__(self, layout: Layout):
        super().__init__()
        self.numbers, self.ranks = len(layout.numeric_units), len(layout.ranked_units)
        self.classes = layout.classes
        slots = self.numbers + self.ranks
        missing = torch.tensor(layout.numeric_missing + layout.ranked_missing, dtype=torch.int64)
        weights = torch.tensor(layout.numeric_weights + layout.ranked_weights)
        binary = torch.tensor(layout.binary + (False,) * self.ranks, dtype=torch.bool)
        self.register_buffer("binary", binary, persistent=False)
        self.register_buffer("missing", missing.clamp_min(0), persistent=False)
        self.register_buffer("maskable", (missing >= 0).float(), persistent=False)
        self.register_buffer("column_weights", weights.float(), persistent=False)
        self.register_buffer("low", torch.zeros(slots))
        self.register_buffer("high", torch.ones(slots))
        self.register_buffer("weights", weights.float())
        self.register_buffer("code_weights", torch.ones(len(self.classes)))

    @property
    def parameters_per_row(self) -> int:
        """Numbers the decoder gives for a row: D + R + K."""
        return self.numbers + self.ranks + sum(self.classes)

    def balance(
        self, *, low: Tensor, high: Tensor, binary_entropy: Tensor, code_entropy: Tensor
    ) -> None:
        """Take over the values of binary slots [D + R] and the entropies of columns, in nats."""
        self.low.copy_(low)
        self.high.copy_(high)
        share = torch.where(self.binary, 1 / binary_entropy.clamp_min(LEAST_ENTROPY), 1.0)
        self.weights.copy_(self.column_weights * share)
        self.code_weights.copy_(1 / code_entropy.clamp_min(LEAST_ENTROPY))

    def decoded(self, parameters: Tensor) -> Decoded:
        """Parameters [N, D + R + K] as a reconstruction; binary slots get their expected value."""
        slots, logits = self._split(parameters)
        # A logistic function by Tanh: its ONNX Runtime kernel does not depend on the batch.
        share = 0.5 * (1 + torch.tanh(0.5 * slots))
        values = torch.where(self.binary, self.low + (self.high - self.low) * share, slots)
        return Decoded(values[:, : self.numbers], values[:, self.numbers :], logits)

    def loss(self, parameters: Tensor, rows: Rows) -> Tensor:
        """Mean loss per row and column, a scalar; about 1 when nothing is known of a row."""
        slots, logits = self._split(parameters)
        target = torch.cat([rows.numeric, rows.ranked], dim=1)
        squared = (slots - target).square()
        crossed = F.binary_cross_entropy_with_logits(
            slots, (target > 0).to(slots.dtype), reduction="none"
        )
        each = torch.where(self.binary, crossed, squared) * self._present(rows)
        total = (each * self.weights).sum() / max(1, len(parameters))
        for column, part in enumerate(logits.split(self.classes, dim=1) if self.classes else ()):
            entropy = F.cross_entropy(part, self.targets(rows.codes)[:, column])
            total = total + entropy * self.code_weights[column]
        return total / (self.column_weights.sum() + len(self.classes))

    def errors(self, parameters: Tensor, rows: Rows) -> Tensor:
        """Error [N, D + R + C]: squared for values, 1 - p(true) for binary and category cells.

        Cells that are missing have error 0. No logarithm, so that it exports.
        """
        slots, logits = self._split(parameters)
        target = torch.cat([rows.numeric, rows.ranked], dim=1)
        share = 0.5 * (1 + torch.tanh(0.5 * slots))
        wrong = torch.where(target > 0, 1 - share, share)
        each = torch.where(self.binary, wrong, (slots - target).square()) * self._present(rows)
        columns = [each]
        for column, part in enumerate(logits.split(self.classes, dim=1) if self.classes else ()):
            true = self.targets(rows.codes)[:, column : column + 1]
            columns.append(1 - part.softmax(dim=1).gather(1, true))
        return torch.cat(columns, dim=1)

    def row_error(self, parameters: Tensor, rows: Rows) -> Tensor:
        """Mean error over the columns of a row, [N]; each column weighs the same."""
        weights = torch.cat([self.column_weights, torch.ones_like(self.code_weights)])
        present = torch.cat(
            [self._present(rows), torch.ones_like(rows.codes, dtype=weights.dtype)], dim=1
        )
        return (self.errors(parameters, rows) * weights).sum(1) / (present * weights).sum(
            1
        ).clamp_min(1e-6)

    def targets(self, codes: Tensor) -> Tensor:
        """Codes [N, C] as classes: those beyond the classes of a column count as rare."""
        classes = torch.tensor(self.classes, dtype=codes.dtype)
        return torch.where(codes < classes, codes, RARE)

    def _present(self, rows: Rows) -> Tensor:
        """1 where a slot's cell was not null, [N, D + R]."""
        if not self.numbers:
            return torch.ones_like(rows.numeric)
        return 1 - (rows.numeric[:, self.missing] > 0).to(rows.numeric.dtype) * self.maskable

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        slots = self.numbers + self.ranks
        return parameters[:, :slots], parameters[:, slots:]
