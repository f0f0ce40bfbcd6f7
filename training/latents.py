"""Distributions of the code, each with the affine map that standardises it for its users."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.spec import Latent

COLLAPSED = 1e-4
"""A unit whose deviation is below this share of the widest one's carries nothing."""


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
        alive = deviation > COLLAPSED * deviation.max().clamp_min(1e-12)
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(alive, deviation, 0.0))
        self.scale.copy_(torch.where(alive, 1 / deviation.clamp_min(1e-30), 0.0))

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


LATENTS: dict[Latent, type[PointLatent]] = {"point": PointLatent}
