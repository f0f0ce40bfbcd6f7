"""Stacks of layers with weights from a given generator."""

from __future__ import annotations

import itertools
import math
from typing import TypeVar

import torch
from torch import nn

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def fresh(layer: Layer, generator: torch.Generator) -> Layer:
    """`layer` with new weights from `generator`: uniform within 1/sqrt(inputs), as torch's own."""
    bound = 1 / math.sqrt(max(1, math.prod(layer.weight.shape[1:])))
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        if layer.bias is not None:
            layer.bias.uniform_(-bound, bound, generator=generator)
    return layer


def dense(
    inputs: int, hidden: tuple[int, ...], outputs: int, generator: torch.Generator
) -> nn.Sequential:
    """Linear layers with Relu between them, [N, inputs] -> [N, outputs]."""
    widths = (inputs, *hidden, outputs)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [fresh(nn.Linear(before, after), generator), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def silence(network: nn.Module) -> None:
    """Set the last layer to zero, so that `network` starts as a correction of nothing."""
    kinds = nn.Linear | nn.Conv2d | nn.ConvTranspose2d
    last = [layer for layer in network.modules() if isinstance(layer, kinds)][-1]
    nn.init.zeros_(last.weight)
    if last.bias is not None:
        nn.init.zeros_(last.bias)
