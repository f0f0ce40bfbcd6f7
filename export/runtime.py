"""The two runtimes that judge an exported file: ONNX Runtime and ONNX's own reference evaluator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx.reference import ReferenceEvaluator

from pipeline.runtime import session

Arrays = dict[str, npt.NDArray[Any]]


class Runtime:
    """A model loaded in ONNX Runtime, fed and answered by name."""

    def __init__(self, model: bytes | onnx.ModelProto, *, threads: int = 1) -> None:
        serialised = model if isinstance(model, bytes) else model.SerializeToString()
        self._session = session(serialised, threads=threads)
        self.inputs = tuple(one.name for one in self._session.get_inputs())
        self.outputs = tuple(one.name for one in self._session.get_outputs())

    def __call__(self, feeds: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """The outputs for `feeds`, of which those that the model reads are taken."""
        taken = {name: feeds[name] for name in self.inputs}
        return dict(zip(self.outputs, self._session.run(None, taken), strict=True))


def evaluate(model: onnx.ModelProto, feeds: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    """The outputs of `model` as ONNX's specification defines them; slow, for a few rows."""
    evaluator = ReferenceEvaluator(model)
    with np.errstate(all="ignore"):  # infinities and overflows are what some rows are for
        answers = evaluator.run(None, {name: feeds[name] for name in evaluator.input_names})
    return dict(zip(evaluator.output_names, answers, strict=True))


def take(feeds: Mapping[str, npt.NDArray[Any]], rows: Any) -> Arrays:
    """The same inputs for some rows (a slice or an index array)."""
    return {name: array[rows] for name, array in feeds.items()}


def count(feeds: Mapping[str, npt.NDArray[Any]]) -> int:
    """How many rows `feeds` holds."""
    return len(next(iter(feeds.values())))
