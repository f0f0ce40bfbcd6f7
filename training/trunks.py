"""Networks between the assembled inputs and the code.

Only Gemm and Relu: their ONNX Runtime kernels give the same bits for a row whatever its batch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import nn

from training.spec import Trunk


def fresh(linear: nn.Linear, generator: torch.Generator) -> nn.Linear:
    """`linear` with new weights from `generator`: uniform within 1/sqrt(inputs), as torch's own."""
    bound = 1 / math.sqrt(max(1, linear.in_features))
    with torch.no_grad():
        linear.weight.uniform_(-bound, bound, generator=generator)
        linear.bias.uniform_(-bound, bound, generator=generator)
    return linear


def dense(
    inputs: int, hidden: tuple[int, ...], outputs: int, generator: torch.Generator
) -> nn.Module:
    """Linear layers with Relu between them, [N, inputs] -> [N, outputs]."""
    widths = (inputs, *hidden, outputs)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [fresh(nn.Linear(before, after), generator), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def silence(trunk: nn.Module) -> None:
    """Set the last layer to zero, so that the trunk starts as a correction of nothing."""
    last = [layer for layer in trunk.modules() if isinstance(layer, nn.Linear)][-1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)


MakeTrunk = Callable[[int, tuple[int, ...], int, torch.Generator], nn.Module]
TRUNKS: dict[Trunk, MakeTrunk | None] = {"none": None, "dense": dense}
