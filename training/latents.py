"""Distributions of the code, each with the affine map that standardises it for its users.

A gaussian code is N(mean, exp(log variance)) given a row and N(0, I) over all rows; all divergences
are in nats.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.spec import Latent

COLLAPSED = 1e-4
"""A unit whose deviation is below this share of the widest one's carries nothing."""

LEAST_VARIANCE = 0.01


class PointLatent(nn.Module):
    """A code that is one point; standardised to mean 0, variance 1 over the training rows.

    Collapsed units come out as 0 and are listed in `collapsed`.
    """

    mean: Tensor
    deviation: Tensor
    scale: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))
        self.register_buffer("scale", torch.ones(dim))

    def calibrate(self, mean: Tensor, deviation: Tensor) -> None:
        """Take over mean and deviation [d] of the raw codes of the training rows."""
        alive = self.alive(deviation)
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(alive, deviation, 0.0))
        self.scale.copy_(torch.where(alive, 1 / deviation.clamp_min(1e-30), 0.0))

    def alive(self, deviation: Tensor) -> Tensor:
        """Which units carry something, bool [d], by their `deviation` [d]."""
        return deviation > COLLAPSED * deviation.max().clamp_min(1e-12)

    @property
    def collapsed(self) -> list[int]:
        """Units that are constant over the training rows."""
        return [int(unit) for unit in torch.nonzero(self.scale == 0).flatten()]

    def standardise(self, raw: Tensor) -> Tensor:
        """Raw codes [N, d] to embedding [N, d]."""
        return (raw - self.mean) * self.scale

    def restore(self, embedding: Tensor) -> Tensor:
        """Embedding [N, d] to raw codes [N, d]."""
        return embedding * self.deviation + self.mean


class GaussianLatent(PointLatent):
    """The mean of a gaussian code, standardised like a point.

    A unit whose mean hardly varies says what N(0, 1) says: it is collapsed.
    """

    def alive(self, deviation: Tensor) -> Tensor:
        """Which units carry something, bool [d], by their `deviation` [d]: variance above 0.01.

        Source: active units of Burda et al. 2016 (arXiv 1509.00519), section 5.
        """
        return deviation.square() > LEAST_VARIANCE


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, exp(log variance)) from N(0, 1), each [N, d], in nats [N, d].

    Source: Kingma & Welling 2014 (arXiv 1312.6114), appendix B.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def charged(divergences: Tensor, *, free_bits: float) -> Tensor:
    """What a batch of divergences [N, d] costs, nats per row: at least `free_bits` for each unit.

    Below that a unit gains nothing by saying less, so that it is not given up early.
    Source: Kingma et al. 2016 (arXiv 1606.04934), appendix C.8.
    """
    return divergences.mean(0).clamp_min(free_bits).sum()


def draw(mean: Tensor, log_variance: Tensor, generator: torch.Generator) -> Tensor:
    """One code for each row, [N, d], by the reparametrisation mean + deviation * noise."""
    noise = torch.randn(mean.shape, generator=generator)
    return mean + (0.5 * log_variance).exp() * noise


def warmth(progress: float, warm_up: float) -> float:
    """Share of the KL weight that counts after a share `progress` of the run.

    >>> [warmth(at, 0.5) for at in (0.0, 0.25, 0.5, 1.0)], warmth(0.0, 0.0)
    ([0.0, 0.5, 1.0, 1.0], 1.0)
    """
    return min(1.0, progress / warm_up) if warm_up else 1.0


LATENTS: dict[Latent, type[PointLatent]] = {"point": PointLatent, "gaussian": GaussianLatent}
