"""The two runtimes that judge an exported file: ONNX Runtime and ONNX's own reference evaluator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx.reference import ReferenceEvaluator

from pipeline.errors import ParityError
from pipeline.runtime import Session

Arrays = dict[str, npt.NDArray[Any]]


class Runtime:
    """A model loaded in ONNX Runtime, fed and answered by name.

    Raises:
        ParityError: if ONNX Runtime refuses the model, or some rows.
    """

    def __init__(self, model: bytes | onnx.ModelProto, *, threads: int = 1) -> None:
        serialised = model if isinstance(model, bytes) else model.SerializeToString()
        with _refusals("ONNX Runtime cannot load the exported model"):
            self._session = Session(serialised, threads=threads)
        self.inputs = self._session.inputs
        self.outputs = self._session.outputs

    def __call__(self, feeds: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """The outputs for `feeds`, of which those that the model reads are taken."""
        taken = {name: feeds[name] for name in self.inputs}
        with _refusals(f"the exported model cannot run {count(feeds)} rows in ONNX Runtime"):
            answers = self._session.run(self.outputs, taken)
        return dict(zip(self.outputs, answers, strict=True))


def evaluate(model: bytes, feeds: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    """The outputs of `model` as ONNX's specification defines them; slow, for a few rows."""
    evaluator = ReferenceEvaluator(onnx.ModelProto.FromString(model))
    # Infinities and overflows are what some rows are for.
    with np.errstate(all="ignore"), _refusals("onnx.reference cannot run the exported model"):
        answers = evaluator.run(None, {name: feeds[name] for name in evaluator.input_names})
    return dict(zip(evaluator.output_names, answers, strict=True))


def take(feeds: Mapping[str, npt.NDArray[Any]], rows: Any) -> Arrays:
    """The same inputs for some rows (a slice or an index array)."""
    return {name: array[rows] for name, array in feeds.items()}


def count(feeds: Mapping[str, npt.NDArray[Any]]) -> int:
    """How many rows `feeds` holds."""
    return len(next(iter(feeds.values())))


@contextlib.contextmanager
def _refusals(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the runtimes' own errors share no base class
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        raise ParityError(f"{what}: {reason}") from error
