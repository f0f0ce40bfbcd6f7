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
LEAST_SHARE = 1e-30
STEEPNESS = 4.0


class Encoded(NamedTuple):
    """Rows on their way to the code [N, d]: the last hidden layer before its Relu [N, H]."""

    hidden: Tensor
    code: Tensor


def divergence(encoded: Encoded, spec: EncoderSpec) -> Tensor:
    """Mean over hidden units of KL(target || mean activation), in nats.

    Source: Ng, "Sparse autoencoder", CS294A lecture notes 2011, section 3, for logistic units
    (Lee, Ekanadham & Ng 2008 square the difference). Here units are Relu: what counts as their
    activation is a logistic function of what they get, in deviations of it over the batch, steep
    enough to be a soft "on". It is over one half where a unit is on, so that a mean of t leaves it
    on for at most 2 t of the rows. The mean of the Relu's own output would not do: larger weights
    in the next layer let it be as small as the network likes, with all units on.
    """
    centred = (encoded.hidden - encoded.hidden.mean(0)).detach()
    deviation = centred.square().mean(0).clamp_min(LEAST**2).sqrt()
    steep = STEEPNESS / deviation * encoded.hidden
    # Each from its own side: 1 - on would be 0, and pull no more, where a unit is on for all rows.
    on, off = (torch.sigmoid(x).mean(0).clamp_min(LEAST_SHARE).log() for x in (steep, -steep))
    target = spec.target_activation
    entropy = -target * math.log(target) - (1 - target) * math.log(1 - target)
    return -(target * on + (1 - target) * off).mean() - entropy


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
