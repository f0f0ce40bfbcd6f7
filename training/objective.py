"""What training lowers: how badly rows are given back, and what else a spec asks of the code."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from training.corruption import Rows
from training.ensembles import Ensemble
from training.latents import charged, divergence, draw, warmth
from training.penalties import PENALTIES

if TYPE_CHECKING:
    from training.autoencoder import Autoencoder

Partners = Callable[[Rows, torch.Generator], Rows]
"""Gives the rows that the contrastive loss brings together with some rows, in order."""


def itself(rows: Rows, generator: torch.Generator) -> Rows:
    """The rows as they are: every row is its own partner."""
    return rows


class _Encoding(NamedTuple):
    """Raw codes or their means [N, d], log variances of gaussian ones, the weighted penalty.

    `members` are the codes by each network of an ensemble, [K, N, d].
    """

    mean: Tensor
    log_variance: Tensor | None
    penalty: Tensor
    members: Tensor | None = None


def terms(
    model: Autoencoder, rows: Rows, labels: Tensor, *, generator: torch.Generator, progress: float
) -> dict[str, Tensor]:
    """The ``loss`` and, of a gaussian code, the terms of the bound as they are, nats per row."""
    spec, count, found = model.spec, len(rows.codes), dict[str, Tensor]()
    joint = model.targets if spec.target == "joint" else None
    if joint is not None and not model.training and bool(torch.isfinite(labels).any()):
        return {"loss": joint.loss(model.raw_code(*rows)[None], labels)}
    encoded = _encoded(model, _noisy(model, rows, generator), generator)
    code, loss = encoded.mean[:count], encoded.penalty
    if encoded.log_variance is not None:
        spread = encoded.log_variance[:count]
        divergences = divergence(code, spread)
        code = draw(code, spread, generator)
        weight = spec.kl_weight * warmth(progress, spec.warm_up)
        loss = loss + weight * charged(divergences, free_bits=spec.free_bits)
        found["kl"] = divergences.sum(1).mean()
    missed = model.likelihood.loss(_parameters(model, code, rows, labels, generator), rows)
    loss = loss + missed
    if found:
        found |= {"reconstruction": missed, "negative_elbo": missed + found["kl"]}
    if model.head is not None:
        loss = loss + spec.contrast * info_nce(model.head(encoded.mean), spec.temperature)
    if joint is not None:
        own = encoded.mean[None] if encoded.members is None else encoded.members
        loss = loss + spec.target_weight * joint.loss(own[:, :count], labels)
    return {"loss": loss, **found}


def info_nce(projected: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross entropy of N pairs, a scalar.

    The second half of `projected` [2 N, w] holds the partners of the first, in order. Source:
    SimCLR, arXiv 2002.05709, equation 1.
    """
    turned = F.normalize(projected, dim=1)
    likeness = turned @ turned.T / temperature
    likeness = likeness.masked_fill(torch.eye(len(likeness), dtype=torch.bool), -torch.inf)
    true = torch.arange(len(likeness)).roll(len(likeness) // 2)
    return F.cross_entropy(likeness, true)


def _noisy(model: Autoencoder, rows: Rows, generator: torch.Generator) -> Rows:
    """Corrupted rows; where rows are compared, those of their partners behind them."""
    seen = [rows] if model.head is None else [rows, model.partners(rows, generator)]
    noisy = [model.corruptor(some, generator) for some in seen]
    return Rows(*map(torch.cat, zip(*noisy, strict=True)))


def _parameters(
    model: Autoencoder, code: Tensor, rows: Rows, labels: Tensor, generator: torch.Generator
) -> Tensor:
    """What the likelihood reads [N, P]; while training, some rows' conditions are withheld.

    Of those only the decoder learns, not the encoder: see `training.conditions.FORGOTTEN`.
    """
    condition = model.condition_of(rows, labels)
    if model.conditions is not None and condition is not None and model.training:
        condition, lost = model.conditions.forget(condition, generator)
        code = torch.where(lost, code.detach(), code)
    return model.parameters_of(code, condition)


def _encoded(model: Autoencoder, rows: Rows, generator: torch.Generator) -> _Encoding:
    if model.spread is not None:
        mean, log_variance = model.posterior(rows)
        return _Encoding(mean, log_variance, mean.new_zeros(()))
    if isinstance(model.trunk, Ensemble):
        members = model.codes_of_members(rows, generator)
        return _Encoding(members.mean(0), None, members.new_zeros(()), members)
    penalise = PENALTIES[model.spec.penalty]
    if penalise is None:
        raw = model.raw_code(*rows)
        return _Encoding(raw, None, raw.new_zeros(()))
    encoded = model.encode(rows)
    return _Encoding(encoded.code, None, model.spec.penalty_weight * penalise(encoded, model.spec))
