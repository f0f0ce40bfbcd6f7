"""The log likelihood of rows under a variational model, estimated by importance sampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from training.autoencoder import Autoencoder
from training.corruption import Rows
from training.latents import draw
from training.likelihoods import Density

NUMBERS_AT_ONCE = 2**22
"""Numbers that the widest layer may hold in one run: 16 MB of float32."""


def log_likelihood(
    model: Autoencoder,
    rows: Rows,
    *,
    samples: int,
    generator: torch.Generator,
    labels: Tensor | None = None,
) -> Tensor:
    """Estimated log p(row) of each row, [N] float64, in nats.

    log 1/k sum_i p(row, z_i) / q(z_i | row), with k = `samples` codes drawn from the encoder's
    posterior: a lower bound in expectation, which k tightens. Of a conditional model log p(row |
    condition); `labels` [N, L] as in a batch. Memory does not grow with k.
    Source: Burda et al. 2016 (arXiv 1509.00519), equation 8.

    Raises:
        ValueError: if the model has no gaussian code.
    """
    if not isinstance(model.likelihood, Density):
        raise ValueError(f"a gaussian code is required, found recipe {model.spec.recipe!r}")
    widest = max(part.shape[0] for part in model.decoder.parameters())
    codes_at_once = max(1, NUMBERS_AT_ONCE // widest)
    found = []
    with torch.no_grad():
        for start in range(0, len(rows.codes), codes_at_once):
            part = Rows(*(matrix[start : start + codes_at_once] for matrix in rows))
            told = None if labels is None else labels[start : start + codes_at_once]
            at_once = max(1, codes_at_once // len(part.codes))
            total = torch.full((len(part.codes),), -math.inf, dtype=torch.float64)
            for first in range(0, samples, at_once):
                count = min(at_once, samples - first)
                total = torch.logaddexp(total, _log_sum(model, part, told, count, generator))
            found.append(total - math.log(samples))
    return torch.cat(found) if found else torch.empty(0, dtype=torch.float64)


def _log_sum(
    model: Autoencoder, rows: Rows, labels: Tensor | None, count: int, generator: torch.Generator
) -> Tensor:
    """Log of the sum of `count` importance weights of each row, [N] float64."""
    assert isinstance(model.likelihood, Density)
    mean, log_variance = (part.repeat(count, 1) for part in model.posterior(rows))
    code = draw(mean, log_variance, generator)
    many = Rows(*(matrix.repeat(count, 1) for matrix in rows))
    condition = model.condition_of(many, None if labels is None else labels.repeat(count, 1))
    given_code = model.likelihood.log_likelihood(model.parameters_of(code, condition), many)
    # log p(z) - log q(z | row); the constants of both are the same.
    noise = (code - mean).square() * (-log_variance).exp()
    ratio = 0.5 * (noise + log_variance - code.square()).sum(1)
    weights = (given_code.double() + ratio.double()).reshape(count, -1)
    return weights.logsumexp(0)
