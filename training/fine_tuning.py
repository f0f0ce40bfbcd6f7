"""What follows the first run of a model that learns from labels: fine-tuning, and its decoder.

A run with labels ends with the weights that its heads like best, mostly early ones, for which the
decoder has not learnt much; so it learns on, alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.autoencoder import Autoencoder
from training.corruption import Rows


class FineTuning(nn.Module):
    """`model` with a loss of its own: its heads train the encoder, and the decoder follows.

    Discriminative fine-tuning (Vincent et al., JMLR 11, 2010, section 3.6; Hinton & Salakhutdinov
    2006), but for the decoder: it learns to give rows back from the code as that becomes, and holds
    the encoder to nothing.
    """

    def __init__(self, model: Autoencoder):
        super().__init__()
        self.model = model

    def loss(
        self, rows: Rows, labels: Tensor, *, generator: torch.Generator, progress: float
    ) -> Tensor:
        """What the heads lose and what the decoder does, a scalar; in eval mode the heads alone."""
        model = self.model
        assert model.targets is not None
        if not self.training and bool(torch.isfinite(labels).any()):
            return model.targets.loss(model.raw_code(*rows)[None], labels)
        codes = model.codes_of_members(model.corruptor(rows, generator), generator)
        condition = model.condition_of(rows, labels)
        parameters = model.parameters_of(codes.mean(0).detach(), condition)
        missed: Tensor = model.likelihood.loss(parameters, rows)
        return model.targets.loss(codes, labels) + missed

    def terms(
        self, rows: Rows, labels: Tensor, *, generator: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        """Nothing but the loss."""
        return {"loss": self.loss(rows, labels, generator=generator, progress=progress)}


class Decoding(nn.Module):
    """The decoder of `model` alone, learning to give rows back from the code as it is."""

    def __init__(self, model: Autoencoder):
        super().__init__()
        self.decoder = model.decoder
        self._model = (model,)  # in a tuple, so that the encoder is not trained

    def loss(
        self, rows: Rows, labels: Tensor, *, generator: torch.Generator, progress: float
    ) -> Tensor:
        """Reconstruction loss, a scalar: about 1 when nothing is known of a row."""
        model = self._model[0]
        with torch.no_grad():
            code = model.raw_code(*model.corruptor(rows, generator))
        missed: Tensor = model.likelihood.loss(
            model.parameters_of(code, model.condition_of(rows, labels)), rows
        )
        return missed

    def terms(
        self, rows: Rows, labels: Tensor, *, generator: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        """Nothing but the loss."""
        return {"loss": self.loss(rows, labels, generator=generator, progress=progress)}
