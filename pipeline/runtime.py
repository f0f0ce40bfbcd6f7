"""ONNX Runtime sessions, set up for batch work on a CPU server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import onnxruntime as ort

from pipeline.errors import BundleError

ort.set_default_logger_severity(4)

Arrays = Mapping[str, npt.NDArray[Any]]


class Session:
    """A model that runs; safe to share between threads. Its errors are ours.

    One intra-op thread by default: workers run side by side, each on its own rows, which costs a
    third less CPU than one stream on many threads. The memory arena is off, because it never
    shrinks.
    """

    def __init__(self, model: bytes, *, threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BundleError(f"the model cannot be loaded: {_first_line(error)}") from None
        self.inputs: tuple[str, ...] = tuple(one.name for one in self._session.get_inputs())
        self.outputs: tuple[str, ...] = tuple(one.name for one in self._session.get_outputs())

    def run(self, outputs: Sequence[str], inputs: Arrays) -> list[npt.NDArray[Any]]:
        """The arrays called `outputs`, from all inputs of the model.

        Raises:
            BundleError: if the model does not have these outputs, or cannot take these inputs.
        """
        try:
            found: list[npt.NDArray[Any]] = self._session.run(list(outputs), dict(inputs))
        except Exception as error:
            raise BundleError(f"the model cannot be run: {_first_line(error)}") from None
        return found


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
