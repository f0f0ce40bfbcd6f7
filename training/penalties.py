"""Penalties on what the trunk computes: few hidden units at work for a row.

Each takes what `Autoencoder.encode` gives of the noisy rows; a scalar, lower when sparser.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from training.spec import EncoderSpec, Penalty

LEAST = 1e-6


class Encoded(NamedTuple):
    """Rows on their way to the code: inputs [N, W], last hidden layer before its Relu [N, H]."""

    inputs: Tensor
    hidden: Tensor
    code: Tensor


def divergence(encoded: Encoded, spec: EncoderSpec) -> Tensor:
    """Mean over hidden units of KL(target || mean activation), in nats.

    Source: Ng, "Sparse autoencoder", CS294A lecture notes 2011, section 3, for logistic units
    (Lee, Ekanadham & Ng 2008 square the difference). Here the activation is the logistic function
    of what a Relu unit gets: it is over one half where the unit is on, so that a mean of t leaves
    a unit on for at most 2 t of the rows. Means of the Relu's own output would not do: a network
    makes them as small as it likes by larger weights in the next layer.
    """
    target = spec.target_activation
    mean = torch.sigmoid(encoded.hidden).mean(0).clamp(LEAST, 1 - LEAST)
    entropy = target * math.log(target) + (1 - target) * math.log(1 - target)
    cross = target * mean.log() + (1 - target) * torch.log1p(-mean)
    return entropy - cross.mean()


def absolute(encoded: Encoded, spec: EncoderSpec) -> Tensor:
    """Mean over hidden units of the L1 norm of the activations, each unit at a mean square of 1.

    The root of Treves & Rolls' measure of sparseness (Network 2, 1991): the root of the share of
    rows that a unit is on for, when it knows one strength. Larger weights in the next layer do not
    change it, as they would change the norm of the activations as they are.
    """
    active = F.relu(encoded.hidden)
    return (active.mean(0) / active.square().mean(0).clamp_min(LEAST).sqrt()).mean()


Penalise = Callable[[Encoded, EncoderSpec], Tensor]
PENALTIES: dict[Penalty, Penalise | None] = {"none": None, "kl": divergence, "l1": absolute}
