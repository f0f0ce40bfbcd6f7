"""The first half of decoder.onnx: codes to prepared rows, before any value is decided.

The file decides for the likeliest row. Whoever draws rows needs what it decides from, and the
export keeps that under names of its own (`export.models.decoder`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from pipeline.errors import BundleError
from pipeline.runs import rows_per_run, widest_layer
from pipeline.runtime import Session

DECODER = "decoder.onnx"
ENTRY = "embedding"
NUMERIC, LOGITS = "p2v/net/out/numeric", "p2v/net/out/logits"

Floats = npt.NDArray[np.float32]


class Reconstruction(NamedTuple):
    """Prepared rows as a decoder gives them: numeric [N, D], logits [N, sum of classes]."""

    numeric: Floats
    logits: Floats


class Decoder:
    """Codes, and conditions where the model takes them, to reconstructions."""

    def __init__(self, content: bytes, *, numeric: int, logits: int) -> None:
        """Cut the audited file `content`; `numeric` and `logits` are the widths it must have.

        Raises:
            BundleError: if the file does not name its prepared reconstruction.
        """
        self._widths = {NUMERIC: numeric, LOGITS: logits}
        wanted = [name for name, width in self._widths.items() if width]
        half = _first_half(content, wanted)
        self._rows_per_run = rows_per_run(4 * widest_layer(half))
        self._session = Session(half.SerializeToString())
        self.conditions = tuple(name for name in self._session.inputs if name != ENTRY)

    def __call__(
        self, embedding: Floats, conditions: Mapping[str, npt.NDArray[Any]]
    ) -> Reconstruction:
        """The reconstruction of every row, from codes [N, d] and conditions [N] by name."""
        rows = len(embedding)
        found = {name: np.zeros((rows, width), np.float32) for name, width in self._widths.items()}
        for first in range(0, rows, self._rows_per_run):
            part = slice(first, first + self._rows_per_run)
            inputs = {ENTRY: embedding[part]}
            inputs |= {name: conditions[name][part] for name in self.conditions}
            outputs = self._session.outputs
            for name, values in zip(outputs, self._session.run(outputs, inputs), strict=True):
                found[name][part] = _of_width(values, self._widths[name])
        return Reconstruction(found[NUMERIC], found[LOGITS])


def _of_width(values: npt.NDArray[Any], width: int) -> npt.NDArray[Any]:
    if values.ndim != 2 or values.shape[1] != width:
        raise BundleError(
            f"{DECODER} must give {width} numbers a row, found an array of shape {values.shape}; "
            "do not use this bundle, and ask where it comes from"
        )
    return values


def _first_half(content: bytes, wanted: list[str]) -> onnx.ModelProto:
    model = onnx.load_model_from_string(content)
    named = {name for node in model.graph.node for name in node.output}
    # Where all categories are conditions, or all numbers, the other half is all there is.
    wanted = [name for name in wanted if name in named]
    if not wanted:
        raise BundleError(
            f"{DECODER} must hold {NUMERIC} or {LOGITS}, found neither; train the bundle again"
        )
    del model.graph.output[:]
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in wanted
    )
    return model
