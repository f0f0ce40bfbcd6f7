"""Several networks side by side whose codes are averaged: one encoder that errs less.

Each learns from the label on its own, as if it were alone (TabM, arXiv 2410.24210, section 4.1);
a linear model of the averaged code is then the average of linear models of each.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Dense networks with the same inputs [N, W], each with a code of its own.

    Shape:
        [N, W] -> [N, d]; `members` gives [K, N, d].
    """

    def __init__(self, networks: Sequence[nn.Module], *, dropout: float):
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.dropout = dropout

    def forward(self, inputs: Tensor) -> Tensor:
        """The mean of the codes, [N, d]."""
        codes = [network(inputs) for network in self.networks]
        total: Tensor = codes[0]
        for code in codes[1:]:
            total = total + code
        return total * (1 / len(codes))

    def members(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """The code of each network, [K, N, d], with hidden units dropped out while training."""
        return torch.stack([self._run(network, inputs, generator) for network in self.networks])

    def _run(self, network: nn.Module, inputs: Tensor, generator: torch.Generator) -> Tensor:
        assert isinstance(network, nn.Sequential)
        for layer in network:
            inputs = layer(inputs)
            if self.training and self.dropout and isinstance(layer, nn.ReLU):
                kept = torch.rand(inputs.shape, generator=generator) >= self.dropout
                inputs = inputs * kept / (1 - self.dropout)
        return inputs
