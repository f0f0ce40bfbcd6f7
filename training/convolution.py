"""Images as images: strided convolutions into the code, transposed ones out of it.

Only Conv, ConvTranspose, Gemm and Relu: their ONNX Runtime kernels compute each row by itself.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.layers import dense, fresh, silence
from training.layout import Image, Layout

SMALLEST_SIDE = 8
"""Convolutions halve an image until no side is longer."""


class Columns(nn.Module):
    """Some columns of a matrix in a given order, [N, W] -> [N, len(places)]."""

    index: Tensor

    def __init__(self, places: Sequence[int]):
        super().__init__()
        self.places = len(places)
        self.first = places[0] if places else 0
        self.adjacent = list(places) == list(range(self.first, self.first + self.places))
        index = torch.tensor(places, dtype=torch.int64)
        self.register_buffer("index", index, persistent=False)

    def forward(self, matrix: Tensor) -> Tensor:
        """The columns; a view where they are neighbours."""
        if self.adjacent:
            return matrix[:, self.first : self.first + self.places]
        return matrix.index_select(1, self.index)


class Pixels(nn.Module):
    """An image out of prepared rows: [N, W] -> [N, channels, height, width].

    The mean image comes back, so that the ground is even and a figure looks alike wherever it is.
    """

    present: Tensor
    base: Tensor

    def __init__(self, image: Image):
        super().__init__()
        self.size = (image.channels, image.height, image.width)
        constant = [slot < 0 for slot in image.slots]
        self.columns = Columns([max(0, slot) for slot in image.slots])
        self.has_constants = any(constant)
        self.register_buffer("present", 1 - torch.tensor(constant).float(), persistent=False)
        self.register_buffer("base", torch.tensor(image.base).float(), persistent=False)

    def forward(self, matrix: Tensor) -> Tensor:
        """The images of the rows of `matrix`."""
        elements: Tensor = self.columns(matrix)
        if self.has_constants:
            elements = elements * self.present
        return (elements + self.base).reshape(-1, *self.size)


class ConvTrunk(nn.Module):
    """Convolutions over every image, joined with all other inputs by dense layers.

    Each convolution halves its image and has the next of `channels`; the last number is repeated
    until no side is longer than `SMALLEST_SIDE`.

    Shape:
        inputs [N, W] with the numeric slots first -> [N, outputs].
    """

    def __init__(
        self,
        layout: Layout,
        inputs: int,
        *,
        channels: tuple[int, ...],
        hidden: tuple[int, ...],
        outputs: int,
        generator: torch.Generator,
    ):
        super().__init__()
        self.images = nn.ModuleList(_reader(one, channels, generator) for one in layout.images)
        taken = {slot for image in layout.images for slot in image.slots}
        beside = [place for place in range(inputs) if place not in taken]
        self.beside = Columns(beside)
        features = sum(math.prod(sizes(image, channels)[-1]) for image in layout.images)
        self.top = dense(features + len(beside), hidden, outputs, generator)

    def forward(self, inputs: Tensor) -> Tensor:
        """The trunk's part of the code."""
        code: Tensor = self.top(self.features(inputs))
        return code

    def features(self, inputs: Tensor) -> Tensor:
        """What the dense layers read, [N, ·]."""
        parts = [read(inputs) for read in self.images]
        if self.beside.places:
            parts.append(self.beside(inputs))
        return torch.cat(parts, dim=1)


class ConvDecoder(nn.Module):
    """A linear map plus, for images, transposed convolutions and, for all else, dense layers.

    These start as nothing, so that a start from principal components is not disturbed.

    Shape:
        raw code [N, inputs] -> parameters [N, outputs], the numeric slots first.
    """

    def __init__(
        self,
        layout: Layout,
        outputs: int,
        *,
        inputs: int,
        channels: tuple[int, ...],
        hidden: tuple[int, ...],
        generator: torch.Generator,
    ):
        super().__init__()
        self.images = nn.ModuleList(
            _writer(image, channels, inputs, hidden, generator) for image in layout.images
        )
        slots = [slot for image in layout.images for slot in image.slots]
        taken = set(slots)
        beside = [place for place in range(outputs) if place not in taken]
        self.beside = dense(inputs, hidden, len(beside), generator) if beside else None
        places = {slot: place for place, slot in enumerate([*slots, *beside]) if slot >= 0}
        self.order = Columns([places[slot] for slot in range(outputs)])
        self.path = fresh(nn.Linear(inputs, outputs), generator)
        for part in (*self.images, self.beside):
            if part is not None:
                silence(part)

    def forward(self, raw: Tensor) -> Tensor:
        """The parameters of the rows."""
        parts = [write(raw) for write in self.images]
        if self.beside is not None:
            parts.append(self.beside(raw))
        parameters: Tensor = self.path(raw) + self.order(torch.cat(parts, dim=1))
        return parameters


def sizes(image: Image, channels: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Channels, height and width of an image before and after each convolution.

    >>> sizes(Image("x", 3, 28, 20, (), ()), (16, 32))
    [(3, 28, 20), (16, 14, 10), (32, 7, 5)]
    """
    found = [(image.channels, image.height, image.width)]
    while len(found) == 1 or max(found[-1][1:]) > SMALLEST_SIDE:
        width = channels[min(len(found), len(channels)) - 1]
        found.append((width, math.ceil(found[-1][1] / 2), math.ceil(found[-1][2] / 2)))
    return found


def _reader(image: Image, channels: tuple[int, ...], generator: torch.Generator) -> nn.Module:
    layers: list[nn.Module] = [Pixels(image)]
    for before, after in itertools.pairwise(sizes(image, channels)):
        window = nn.Conv2d(before[0], after[0], kernel_size=3, stride=2, padding=1)
        layers += [fresh(window, generator), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten())


def _writer(
    image: Image,
    channels: tuple[int, ...],
    inputs: int,
    hidden: tuple[int, ...],
    generator: torch.Generator,
) -> nn.Module:
    steps = sizes(image, channels)[::-1]
    layers: list[nn.Module] = [dense(inputs, hidden, math.prod(steps[0]), generator)]
    layers.append(nn.Unflatten(1, steps[0]))
    for before, after in itertools.pairwise(steps):
        window = nn.ConvTranspose2d(before[0], after[0], kernel_size=4, stride=2, padding=1)
        layers += [nn.ReLU(), fresh(window, generator), Crop(*after[1:])]
    return nn.Sequential(*layers, nn.Flatten())


class Crop(nn.Module):
    """The first `height` rows and `width` columns of images [N, C, H, W]: halves of odd sides."""

    def __init__(self, height: int, width: int):
        super().__init__()
        self.height, self.width = height, width

    def forward(self, images: Tensor) -> Tensor:
        """The cropped images."""
        return images[:, :, : self.height, : self.width]
