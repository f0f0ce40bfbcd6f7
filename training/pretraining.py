"""What happens before the whole network is trained: greedy pretraining, layer by layer.

Each layer of a dense trunk, with the decoder layer opposite, is a denoising autoencoder of what
the layers below give; together they are then trained on as one deep autoencoder. Sources: Hinton &
Salakhutdinov, Science 313, 2006 (unrolling); Bengio et al., NIPS 2007 (autoencoders as layers);
Vincent et al., JMLR 11, 2010 (corrupted inputs at every layer).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.progress import Progress
from training.autoencoder import Autoencoder
from training.corruption import Rows
from training.loop import to_rows, train
from training.matrix import TRAIN, Matrix
from training.spec import Pretraining, TrainingConfig

SHARE = 0.5
"""Of the steps of a run that pretrains; the layers have equal parts of it."""

SCALE_ROWS = 4096


class Layer(nn.Module):
    """One layer of `model` and the decoder layer opposite; what lies below is read, not trained.

    The first layer (`depth` 0) gives columns back, as the whole network does, and trains the table
    of categories; the others give back what the layer below gives. The last one makes the code,
    which is linear. Weights are those of `model` itself.
    """

    def __init__(self, model: Autoencoder, depth: int):
        super().__init__()
        trunk, decoder = model.trunk, model.decoder
        assert isinstance(trunk, nn.Sequential) and isinstance(decoder, nn.Sequential)
        self.encoder, self.decoder = _linear(trunk, 2 * depth), _linear(decoder, -1 - 2 * depth)
        if depth == 0 and model.layout.cardinalities:
            self.table = model.table
        self.depth, self.linear = depth, 2 * depth == len(trunk) - 1
        self.hidden_share = _at(model.spec.layer_corruption, depth - 1) if depth else 0.0
        self._model = (model,)  # in a tuple, so that the rest of the network is not trained

    def loss(
        self, rows: Rows, labels: Tensor, *, generator: torch.Generator, progress: float
    ) -> Tensor:
        """Reconstruction loss, a scalar: about 1 when nothing is known of a row."""
        model = self._model[0]
        if not self.depth:
            inputs = model.inputs(*model.corruptor(rows, generator))
            return model.likelihood.loss(self._reconstruct(inputs), rows)
        with torch.no_grad():
            clean = self._below(rows)
            kept = torch.rand(clean.shape, generator=generator) >= self.hidden_share
        missed = (self._reconstruct(clean * kept) - clean).square().sum()
        return missed / (clean - clean.mean(0)).square().sum().clamp_min(1e-6)

    def terms(
        self, rows: Rows, labels: Tensor, *, generator: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        """Nothing but the loss."""
        return {"loss": self.loss(rows, labels, generator=generator, progress=progress)}

    def hand_over(self, above: Layer, rows: Rows) -> None:
        """Let `above` start from outputs of mean variance 1 over `rows`, and from their means.

        What this layer reconstructs stays as it is, for Relu lets a factor move from one side of it
        to the other. Without this the layer above spends its steps on scale and bias.
        """
        hidden = F.relu(self.encoder(self._below(rows)))
        deviation = hidden.var(0).mean().clamp_min(1e-12).sqrt()
        for weight in (self.encoder.weight, self.encoder.bias):
            weight.div_(deviation)
        self.decoder.weight.mul_(deviation)
        above.decoder.bias.copy_((hidden / deviation).mean(0))

    def _below(self, rows: Rows) -> Tensor:
        model = self._model[0]
        below: Tensor = model.trunk[: 2 * self.depth](model.inputs(*rows))  # type: ignore[index]
        return below

    def _reconstruct(self, inputs: Tensor) -> Tensor:
        # No Relu on the way out, as it could die there; the whole network has one, and what it
        # cuts off can only be an error, for no layer gives less than 0.
        code = self.encoder(inputs)
        reconstruction: Tensor = self.decoder(code if self.linear else F.relu(code))
        return reconstruction


def layers_of(model: Autoencoder) -> list[Layer]:
    """The layers of `model`'s trunk from the inputs to the code."""
    return [Layer(model, depth) for depth in range(len(model.spec.hidden) + 1)]


def greedy(
    model: Autoencoder,
    matrix: Matrix,
    *,
    config: TrainingConfig,
    seed: int,
    state_path: Path | None,
    progress: Progress | None,
) -> list[dict[str, Any]]:
    """Pretrain every layer on those below it; their curves as plain data.

    Each layer is checkpointed beside `state_path`, and sees batches and noise of its own.
    """
    layers = layers_of(model)
    some = matrix.sample(TRAIN, limit=SCALE_ROWS)
    curves = []
    for layer in layers:
        number = layer.depth + 1
        curve = train(
            layer,
            matrix,
            name=f"pretrain {model.spec.recipe}, layer {number} of {len(layers)}",
            schedule=model.spec.schedule,
            config=config.model_copy(update={"steps": split_steps(config.steps, len(layers))[0]}),
            seed=seed + number,
            state_path=state_path and state_path.with_suffix(f".layer{number}{state_path.suffix}"),
            progress=progress,
        )
        curves.append(curve.to_json())
        if number < len(layers):
            with torch.no_grad():
                layer.hand_over(layers[number], to_rows(matrix.take(some)))
    return curves


def split_steps(steps: int, layers: int) -> tuple[int, int]:
    """Steps of each layer's pretraining, and of the whole network's training after it.

    >>> split_steps(2000, 3)
    (333, 1001)
    """
    each = max(1, int(steps * SHARE) // layers)
    return each, max(1, steps - each * layers)


def _linear(layers: nn.Sequential, place: int) -> nn.Linear:
    layer = layers[place]
    assert isinstance(layer, nn.Linear)
    return layer


def _at(shares: tuple[float, ...], layer: int) -> float:
    """The share of a hidden layer from 0; the last one that was said holds for those above."""
    return shares[min(layer, len(shares) - 1)] if shares else 0.0


Pretrain = Callable[..., list[dict[str, Any]]]
PRETRAININGS: dict[Pretraining, Pretrain | None] = {"none": None, "greedy": greedy}
