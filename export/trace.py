"""A trained module as one ONNX graph: every answer it can give, traced once.

Each export takes seconds, so embedding, reconstruction error and reconstruction are outputs of
one graph; :mod:`export.merge` cuts the files out of it. The graph starts at the prologue's
outputs. Nothing here knows a recipe: the module is asked to ``embed``, ``decode`` and score.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import onnx
import torch
from torch import Tensor, nn

from export.passes import IR_VERSION, OPSETS, number_tensors, strip_metadata
from pipeline.errors import ParityError

PREFIX = "p2v/net/"
INPUTS = ("numeric", "ranked", "codes")
LATENT = "latent"
EMBEDDING, ERROR = "embedding", "error"
DECODED = ("numeric", "logits")
_EXAMPLE_ROWS = 3


class Widths(NamedTuple):
    """Columns of the prepared matrices (D, R, C) and of the logits (K); 0 where there are none."""

    numeric: int
    ranked: int
    codes: int
    logits: int

    @property
    def inputs(self) -> tuple[str, ...]:
        """The prologue's outputs that exist."""
        return tuple(name for name in INPUTS if getattr(self, name))

    @property
    def decoded(self) -> tuple[str, ...]:
        """The decoder's answers that exist."""
        return tuple(name for name in DECODED if getattr(self, name))


def input_name(name: str) -> str:
    """The traced tensor that takes `name` (of :data:`INPUTS`, or :data:`LATENT`)."""
    return f"{PREFIX}in/{name}"


def output_name(name: str) -> str:
    """The traced tensor that holds an answer; names a torch node can never have."""
    return f"{PREFIX}out/{name}"


class Answers(nn.Module):
    """Everything a bundle needs from a module, as one forward pass.

    Shape:
        matrices: those of `widths.inputs`, in that order, then the latent codes [N, d].
        Returns: embedding [N, d], error [N], then those of `widths.decoded` [N, ·].
    """

    def __init__(self, module: Any, *, widths: Widths) -> None:
        super().__init__()
        self.module, self.widths = module, widths

    def forward(self, *matrices: Tensor) -> tuple[Tensor, ...]:
        """All answers for the rows of `matrices`."""
        *present, latent = matrices
        rows = dict(zip(self.widths.inputs, present, strict=True))
        empty = latent.new_zeros((latent.shape[0], 0))
        numeric, ranked = rows.get("numeric", empty), rows.get("ranked", empty)
        codes = rows.get("codes", empty.long())
        decoded = self.module.decode(latent)
        return (
            self.module.embed(numeric, ranked, codes),
            self.module.reconstruction_error(numeric, ranked, codes),
            *(getattr(decoded, name) for name in self.widths.decoded),
        )


def trace(module: nn.Module, *, widths: Widths, dim: int) -> onnx.ModelProto:
    """The graph of all answers of `module`, with a free batch size; the module is left as it was.

    Inputs are named by :func:`input_name`, outputs by :func:`output_name`.

    Raises:
        ParityError: if torch cannot turn the module into a graph (a branch on the data, an
            operator without an ONNX form).
    """
    answers = Answers(copy.deepcopy(module), widths=widths).cpu().eval().requires_grad_(False)
    batch = torch.export.Dim("batch")
    names = (*widths.inputs, LATENT)
    try:
        with _quiet():
            program = torch.onnx.export(
                answers,
                _example(widths, dim),
                dynamo=True,
                opset_version=OPSETS[""],
                dynamic_shapes={"matrices": tuple({0: batch} for _ in names)},
                input_names=[input_name(name) for name in names],
                output_names=[output_name(n) for n in (EMBEDDING, ERROR, *widths.decoded)],
                external_data=False,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ParityError(f"the trained module cannot be written as ONNX: {reason}") from error
    assert program is not None
    model = program.model_proto
    strip_metadata(model)
    number_tensors(model, prefix=PREFIX)
    model.ir_version = IR_VERSION
    return model


def _example(widths: Widths, dim: int) -> tuple[Tensor, ...]:
    matrices = [
        torch.zeros(_EXAMPLE_ROWS, getattr(widths, name), dtype=torch.int64)
        if name == "codes"
        else torch.zeros(_EXAMPLE_ROWS, getattr(widths, name))
        for name in widths.inputs
    ]
    return (*matrices, torch.zeros(_EXAMPLE_ROWS, dim))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what torch says to its own developers while it exports, and nothing else."""
    talker = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = talker.level
    talker.setLevel(logging.ERROR)  # four lines telling that torchvision is not installed
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            warnings.filterwarnings("ignore", r"# The axis name: batch", UserWarning)
            yield
    finally:
        talker.setLevel(level)
