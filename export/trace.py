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
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import onnx
import torch
from torch import Tensor, nn

from export.conditions import GIVEN
from export.passes import IR_VERSION, OPSETS, number_tensors, strip_metadata
from pipeline.errors import ParityError
from training.conditions import Condition

PREFIX = "p2v/net/"
INPUTS = ("numeric", "ranked", "codes")
LATENT = "latent"
EMBEDDING, ERROR = "embedding", "error"
DECODED = ("numeric", "logits")
_EXAMPLE_ROWS = 3


class Widths(NamedTuple):
    """Columns of the prepared matrices (D, R, C) and of the logits (K); 0 where there are none.

    The given ones are those of the conditions that the decoder is told.
    """

    numeric: int
    ranked: int
    codes: int
    logits: int
    given_numeric: int = 0
    given_codes: int = 0

    @property
    def inputs(self) -> tuple[str, ...]:
        """The prologue's outputs that exist."""
        return tuple(name for name in INPUTS if getattr(self, name))

    @property
    def given(self) -> tuple[str, ...]:
        """The prepared conditions that exist."""
        return tuple(name for name in GIVEN if getattr(self, name))

    @property
    def decoded(self) -> tuple[str, ...]:
        """The decoder's answers that exist."""
        return tuple(name for name in DECODED if getattr(self, name))


def input_name(name: str) -> str:
    """The traced tensor that takes `name` (of :data:`INPUTS`, of `GIVEN`, or :data:`LATENT`)."""
    return f"{PREFIX}in/{name}"


def output_name(name: str) -> str:
    """The traced tensor that holds an answer; names a torch node can never have."""
    return f"{PREFIX}out/{name}"


def condition(rows: Mapping[str, Tensor], empty: Tensor) -> Condition:
    """Prepared conditions by name as a module takes them; `empty` [N, 0] where there are none."""
    return Condition(rows.get(GIVEN[0], empty), rows.get(GIVEN[1], empty.long()))


class Answers(nn.Module):
    """Everything a bundle needs from a module, as one forward pass.

    Shape:
        matrices: those of `widths.inputs`, in that order, then the latent codes [N, d], then those
            of `widths.given`.
        Returns: embedding [N, d], error [N], then those of `widths.decoded` [N, ·].
    """

    def __init__(self, module: Any, *, widths: Widths) -> None:
        super().__init__()
        self.module, self.widths = module, widths

    def forward(self, *matrices: Tensor) -> tuple[Tensor, ...]:
        """All answers for the rows of `matrices`."""
        count = len(self.widths.inputs)
        latent = matrices[count]
        rows = dict(zip(self.widths.inputs, matrices[:count], strict=True))
        rows |= zip(self.widths.given, matrices[count + 1 :], strict=True)
        empty = latent.new_zeros((latent.shape[0], 0))
        numeric, ranked = rows.get("numeric", empty), rows.get("ranked", empty)
        codes = rows.get("codes", empty.long())
        told = (condition(rows, empty),) if self.widths.given else ()
        decoded = self.module.decode(latent, *told)
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
    names = (*widths.inputs, LATENT, *widths.given)
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
    def matrix(name: str) -> Tensor:
        dtype = torch.int64 if name.endswith("codes") else torch.float32
        return torch.zeros(_EXAMPLE_ROWS, getattr(widths, name), dtype=dtype)

    latent = torch.zeros(_EXAMPLE_ROWS, dim)
    return (*map(matrix, widths.inputs), latent, *map(matrix, widths.given))


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
