"""How a reconstruction is judged, column by column: squared error, Bernoulli, categorical.

`Likelihood` balances: every column weighs the same however many slots it has, missing cells do not
count, and each loss is divided by what the best constant would lose, so that no kind of column
drowns another. `Density` does not: it gives the log likelihood of a row, in nats.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.corruption import UNKNOWN, Rows
from training.layout import Layout
from training.spec import Numbers

RARE = 2
LEAST_ENTROPY = 0.1
"""Nats; columns that hardly vary are not blown up beyond this."""

LEAST_VARIANCE = 1e-3
"""Of standardised numbers: a column that follows from others has no unbounded density."""
SPEED = 10.0
"""Log variances move over several units, weights over fractions of one."""


class Decoded(NamedTuple):
    """A reconstruction in prepared space: numeric [N, D], ranked [N, R], logits [N, K]."""

    numeric: Tensor
    ranked: Tensor
    logits: Tensor


class Likelihood(nn.Module):
    """Reads the decoder's parameters [N, D + R + K] as values, losses and errors of the columns.

    Binary slots (booleans, missing indicators) take a logit, category columns one logit per class,
    all other slots their value; with `numbers` "bernoulli" the logit of where the value lies
    between the least and the greatest one of the training rows. With `given`, columns of the role
    condition are known to the decoder and do not count.
    """

    binary: Tensor
    logistic: Tensor
    low: Tensor
    high: Tensor
    weights: Tensor
    code_weights: Tensor
    column_weights: Tensor
    code_shares: Tensor
    missing: Tensor
    maskable: Tensor

    def __init__(self, layout: Layout, numbers: Numbers = "gaussian", *, given: bool = False):
        super().__init__()
        self.numbers, self.ranks = len(layout.numeric_units), len(layout.ranked_units)
        self.classes = layout.classes
        slots = self.numbers + self.ranks
        missing = torch.tensor(layout.numeric_missing + layout.ranked_missing, dtype=torch.int64)
        weights = torch.tensor(layout.numeric_weights + layout.ranked_weights).float()
        code_shares = torch.ones(len(self.classes))
        if given:
            known = torch.tensor(layout.given_numeric + layout.given_ranked, dtype=torch.bool)
            weights[known] = 0
            code_shares[torch.tensor(layout.given_codes, dtype=torch.bool)] = 0
        binary = torch.tensor(layout.binary + (False,) * self.ranks, dtype=torch.bool)
        logistic = binary | ((torch.arange(slots) < self.numbers) & (numbers == "bernoulli"))
        self.register_buffer("binary", binary, persistent=False)
        self.register_buffer("logistic", logistic, persistent=False)
        self.register_buffer("missing", missing.clamp_min(0), persistent=False)
        self.register_buffer("maskable", (missing >= 0).float(), persistent=False)
        self.register_buffer("column_weights", weights, persistent=False)
        self.register_buffer("code_shares", code_shares, persistent=False)
        self.register_buffer("low", torch.zeros(slots))
        self.register_buffer("high", torch.ones(slots))
        self.register_buffer("weights", weights.clone())
        self.register_buffer("code_weights", code_shares.clone())

    @property
    def parameters_per_row(self) -> int:
        """Numbers the decoder gives for a row: D + R + K."""
        return self.numbers + self.ranks + sum(self.classes)

    def balance(
        self, *, low: Tensor, high: Tensor, binary_entropy: Tensor, code_entropy: Tensor
    ) -> None:
        """Take over extremes [D + R] of the slots and the entropies of columns, in nats.

        `binary_entropy` is that of the mean of a slot, as a share of the way from low to high.
        """
        self.low.copy_(low)
        self.high.copy_(high)
        share = torch.where(self.logistic, 1 / binary_entropy.clamp_min(LEAST_ENTROPY), 1.0)
        self.weights.copy_(self.column_weights * share)
        self.code_weights.copy_(self.code_shares / code_entropy.clamp_min(LEAST_ENTROPY))

    def decoded(self, parameters: Tensor) -> Decoded:
        """Parameters [N, D + R + K] as a reconstruction; logistic ones get their expected value."""
        slots, logits = self._split(parameters)
        values = self._values(slots)
        return Decoded(values[:, : self.numbers], values[:, self.numbers :], logits)

    def loss(self, parameters: Tensor, rows: Rows) -> Tensor:
        """Mean loss per row and column, a scalar; about 1 when nothing is known of a row."""
        slots, logits = self._split(parameters)
        target = torch.cat([rows.numeric, rows.ranked], dim=1)
        each = torch.where(
            self.logistic, self._crossed(slots, target), (slots - target).square()
        ) * self._present(rows)
        total = (each * self.weights).sum() / max(1, len(parameters))
        for column, part in enumerate(logits.split(self.classes, dim=1) if self.classes else ()):
            entropy = F.cross_entropy(part, self.targets(rows.codes)[:, column])
            total = total + entropy * self.code_weights[column]
        return total / (self.column_weights.sum() + self.code_shares.sum()).clamp_min(1)

    def errors(self, parameters: Tensor, rows: Rows) -> Tensor:
        """Error [N, D + R + C]: squared for values, 1 - p(true) for binary and category cells.

        Cells that are missing have error 0. No logarithm, so that it exports.
        """
        slots, logits = self._split(parameters)
        target = torch.cat([rows.numeric, rows.ranked], dim=1)
        share = _logistic(slots)
        wrong = torch.where(target > 0, 1 - share, share)
        squared = (self._values(slots) - target).square()
        columns = [torch.where(self.binary, wrong, squared) * self._present(rows)]
        for column, part in enumerate(logits.split(self.classes, dim=1) if self.classes else ()):
            true = self.targets(rows.codes)[:, column : column + 1]
            columns.append(1 - part.softmax(dim=1).gather(1, true))
        return torch.cat(columns, dim=1)

    def row_error(self, parameters: Tensor, rows: Rows) -> Tensor:
        """Mean error over the columns of a row, [N]; each column weighs the same."""
        weights = torch.cat([self.column_weights, self.code_shares])
        present = torch.cat(
            [self._present(rows), torch.ones_like(rows.codes, dtype=weights.dtype)], dim=1
        )
        # Runtimes add up in orders of their own, which thousands of float32 terms do not bear.
        total = (self.errors(parameters, rows) * weights).sum(1, dtype=torch.float64)
        weight = (present * weights).sum(1, dtype=torch.float64)
        return (total / weight.clamp_min(1e-6)).to(weights.dtype)

    def targets(self, codes: Tensor) -> Tensor:
        """Codes [N, C] as classes: those beyond the classes of a column count as rare."""
        classes = torch.tensor(self.classes, dtype=codes.dtype)
        return torch.where(codes < classes, codes, RARE)

    def _crossed(self, slots: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy [N, D + R] of slots as logits; shares beyond 0 and 1 count as these."""
        width = (self.high - self.low).clamp_min(1e-12)
        share = ((target - self.low) / width).clamp(0, 1)
        truth = torch.where(self.binary, (target > 0).to(slots.dtype), share)
        return F.binary_cross_entropy_with_logits(slots, truth, reduction="none")

    def _values(self, slots: Tensor) -> Tensor:
        """Slots [N, D + R] as values, logistic ones as the expected value."""
        values = self.low + (self.high - self.low) * _logistic(slots)
        return torch.where(self.logistic, values, slots)

    def _present(self, rows: Rows) -> Tensor:
        """1 where a slot's cell was not null, [N, D + R]."""
        if not self.numbers:
            return torch.ones_like(rows.numeric)
        return 1 - (rows.numeric[:, self.missing] > 0).to(rows.numeric.dtype) * self.maskable

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        slots = self.numbers + self.ranks
        return parameters[:, :slots], parameters[:, slots:]


class Density(Likelihood):
    """The same columns as a probability density of the prepared row.

    Numbers are normal with one learnt variance for each column (for all elements of a vector
    together), or Bernoulli. The rank-gauss view says nothing that the numbers do not, so it has no
    density; slots that are constant in training and values that training never saw have none.
    """

    scored: Tensor
    columns: Tensor

    def __init__(self, layout: Layout, numbers: Numbers = "gaussian", *, given: bool = False):
        super().__init__(layout, numbers, given=given)
        twice = 1 + torch.tensor(layout.reranked, dtype=torch.float32)
        once = torch.cat([twice, torch.zeros(self.ranks)])
        self.column_weights.mul_(once)
        self.weights.copy_(self.column_weights)
        columns = torch.tensor(layout.numeric_columns, dtype=torch.int64)
        self.register_buffer("columns", columns, persistent=False)
        scored = self.column_weights[: self.numbers] > 0
        self.register_buffer("scored", scored.float(), persistent=False)
        self.log_variances = nn.Parameter(torch.zeros(max(layout.numeric_columns, default=-1) + 1))

    @property
    def variance(self) -> Tensor:
        """Variance of each numeric slot given the code, [D]."""
        return LEAST_VARIANCE + (SPEED * self.log_variances[self.columns]).exp()

    def loss(self, parameters: Tensor, rows: Rows) -> Tensor:
        """Negative log likelihood, nats per row: a scalar."""
        return -self.log_likelihood(parameters, rows).mean()

    def log_likelihood(self, parameters: Tensor, rows: Rows) -> Tensor:
        """Log likelihood of each row, [N], in nats; missing cells are left out.

        Of a share between 0 and 1 the cross-entropy is taken for the log likelihood, as is usual
        for grey images (Kingma & Welling 2014, appendix C.1); of a binary image it is one.
        """
        slots, logits = self._split(parameters)
        own = slots[:, : self.numbers]
        target = torch.cat([rows.numeric, rows.ranked], dim=1)
        crossed = -self._crossed(slots, target)[:, : self.numbers]
        variance = self.variance
        normal = -0.5 * ((own - rows.numeric).square() / variance + (2 * math.pi * variance).log())
        varies = (self.high > self.low)[: self.numbers].float()
        present = self._present(rows)[:, : self.numbers] * varies * self.scored
        each = torch.where(self.logistic[: self.numbers], crossed, normal) * present
        total = each.sum(1)
        for column, part in enumerate(logits.split(self.classes, dim=1) if self.classes else ()):
            code = rows.codes[:, column]
            entropy = F.cross_entropy(part, self.targets(rows.codes)[:, column], reduction="none")
            total = total - entropy * (code != UNKNOWN) * self.code_shares[column]
        return total


def _logistic(slots: Tensor) -> Tensor:
    # A logistic function by Tanh: its ONNX Runtime kernel does not depend on the batch.
    return 0.5 * (1 + torch.tanh(0.5 * slots))
