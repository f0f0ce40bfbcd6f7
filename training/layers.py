"""Stacks of layers with weights from a given generator."""

from __future__ import annotations

import itertools
import math
from typing import TypeVar

import torch
from torch import Tensor, nn

from training.spec import Activation

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def fresh(layer: Layer, generator: torch.Generator, *, gain: float = 1.0) -> Layer:
    """`layer` with new weights from `generator`: uniform within `gain` / sqrt(inputs).

    A `gain` of 1 is torch's own.
    """
    bound = 1 / math.sqrt(max(1, math.prod(layer.weight.shape[1:])))
    with torch.no_grad():
        layer.weight.uniform_(-gain * bound, gain * bound, generator=generator)
        if layer.bias is not None:
            layer.bias.uniform_(-bound, bound, generator=generator)
    return layer


class Silu(nn.Module):
    """x times the logistic function of x, by Tanh, whose kernel does not depend on the batch.

    Source: Elfwing, Uchibe & Doya, arXiv 1702.03118.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Values of any shape."""
        return values * (0.5 + 0.5 * torch.tanh(0.5 * values))


def dense(
    inputs: int,
    hidden: tuple[int, ...],
    outputs: int,
    generator: torch.Generator,
    *,
    activation: Activation = "relu",
) -> nn.Sequential:
    """Linear layers with an activation between them, [N, inputs] -> [N, outputs]."""
    make, gain = ACTIVATIONS[activation]
    widths = (inputs, *hidden, outputs)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [fresh(nn.Linear(before, after), generator, gain=gain), make()]
    return nn.Sequential(*layers[:-1])


def silence(network: nn.Module) -> None:
    """Set the last layer to zero, so that `network` starts as a correction of nothing."""
    kinds = nn.Linear | nn.Conv2d | nn.ConvTranspose2d
    last = [layer for layer in network.modules() if isinstance(layer, kinds)][-1]
    nn.init.zeros_(last.weight)
    if last.bias is not None:
        nn.init.zeros_(last.bias)


ACTIVATIONS: dict[Activation, tuple[type[nn.Module], float]] = {
    "relu": (nn.ReLU, 1.0),
    # Weights of variance 2/n, so that the signal neither fades nor grows from layer to layer: He
    # et al., arXiv 1502.01852. Eight layers of torch's own start with hardly any signal.
    "silu": (Silu, math.sqrt(6)),
}
