"""Networks between the assembled inputs and the code, and from the code to its reconstruction.

Only Gemm, Conv, Relu and Tanh: their ONNX Runtime kernels give a row the same bits in any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

from pipeline.errors import ConfigError
from training.convolution import ConvDecoder, ConvTrunk
from training.ensembles import Ensemble
from training.layers import dense
from training.layout import Layout
from training.spec import Choices, Decoder, EncoderSpec, Trunk


def require_images(spec: Choices, images: Collection[object], *, recipe: str) -> None:
    """Nothing, when the network of `spec` finds the images that it works on.

    Raises:
        ConfigError: saying how to declare one.
    """
    if "conv" in (spec.trunk, spec.decoder) and not images:
        raise ConfigError(
            f"recipe {recipe!r} must have an image among the features, found none; declare one in "
            'a project file: [train.columns.NAME] with kind = "image" and shape = [height, width], '
            'or [train.images.NAME] with columns = ["pixel_*"] and a shape'
        )


def dense_trunk(
    layout: Layout, spec: EncoderSpec, inputs: int, generator: torch.Generator
) -> nn.Module:
    """Linear layers with activations between them, [N, inputs] -> [N, d]."""
    return dense(inputs, spec.hidden, spec.dim, generator, activation=spec.activation)


def conv_trunk(
    layout: Layout, spec: EncoderSpec, inputs: int, generator: torch.Generator
) -> nn.Module:
    """Convolutions over the images, joined with the other inputs, [N, inputs] -> [N, d]."""
    require_images(spec, layout.images, recipe=spec.recipe)
    return ConvTrunk(
        layout,
        inputs,
        channels=spec.channels,
        hidden=spec.hidden,
        outputs=spec.dim,
        generator=generator,
    )


def last_layer(trunk: nn.Module) -> nn.Linear:
    """The layer of a trunk that makes the code."""
    top = trunk.top if isinstance(trunk, ConvTrunk) else trunk
    assert isinstance(top, nn.Sequential) and isinstance(top[-1], nn.Linear)
    return top[-1]


def below_last(trunk: nn.Module, inputs: Tensor) -> Tensor:
    """What the `last_layer` of a trunk reads, from the trunk's own inputs [N, W]."""
    if isinstance(trunk, ConvTrunk):
        inputs, trunk = trunk.features(inputs), trunk.top
    assert isinstance(trunk, nn.Sequential)
    hidden: Tensor = trunk[:-1](inputs)
    return hidden


def linear_decoder(
    layout: Layout, spec: EncoderSpec, inputs: int, outputs: int, generator: torch.Generator
) -> nn.Module:
    """One linear layer, [N, inputs] -> [N, outputs]."""
    return dense(inputs, (), outputs, generator)


def mlp_decoder(
    layout: Layout, spec: EncoderSpec, inputs: int, outputs: int, generator: torch.Generator
) -> nn.Module:
    """Linear layers with activations between them, [N, inputs] -> [N, outputs]."""
    return dense(inputs, spec.decoder_hidden, outputs, generator, activation=spec.activation)


def conv_decoder(
    layout: Layout, spec: EncoderSpec, inputs: int, outputs: int, generator: torch.Generator
) -> nn.Module:
    """Transposed convolutions to the images, linear layers to all else, [N, inputs] -> [N, P]."""
    require_images(spec, layout.images, recipe=spec.recipe)
    return ConvDecoder(
        layout,
        outputs,
        inputs=inputs,
        channels=spec.channels,
        hidden=spec.decoder_hidden,
        generator=generator,
    )


def ensemble_trunk(
    layout: Layout, spec: EncoderSpec, inputs: int, generator: torch.Generator
) -> nn.Module:
    """Dense trunks beside each other whose codes are averaged, [N, inputs] -> [N, d]."""
    networks = [dense_trunk(layout, spec, inputs, generator) for _ in range(spec.members)]
    return Ensemble(networks, dropout=spec.dropout)


MakeTrunk = Callable[[Layout, EncoderSpec, int, torch.Generator], nn.Module]
TRUNKS: dict[Trunk, MakeTrunk | None] = {
    "none": None,
    "dense": dense_trunk,
    "conv": conv_trunk,
    "ensemble": ensemble_trunk,
}

MakeDecoder = Callable[[Layout, EncoderSpec, int, int, torch.Generator], nn.Module]
DECODERS: dict[Decoder, MakeDecoder] = {
    "linear": linear_decoder,
    "mlp": mlp_decoder,
    "conv": conv_decoder,
}
