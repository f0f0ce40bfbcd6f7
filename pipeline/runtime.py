"""ONNX Runtime sessions, set up for batch work on a CPU server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import onnxruntime as ort

from pipeline.errors import BundleError
from pipeline.watchdog import Watchdog

# A run has at most some thousand rows and takes milliseconds.
LONGEST_RUN_SECONDS = 60

ort.set_default_logger_severity(4)

_watchdog = Watchdog(ticks=LONGEST_RUN_SECONDS)

Arrays = Mapping[str, npt.NDArray[Any]]


class Session:
    """A model that runs; safe to share between threads. Its errors are ours.

    One intra-op thread by default: workers run side by side, each on its own rows, which costs a
    third less CPU than one stream on many threads. A run that takes longer than
    `LONGEST_RUN_SECONDS` is stopped between two operators.

    With `keeps_memory` the arrays of one run are those of the next: ONNX Runtime's memory arena,
    which never shrinks, so that runs must be of few rows and follow one another.
    """

    def __init__(self, model: bytes, *, threads: int = 1, keeps_memory: bool = False) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = keeps_memory
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Otherwise some bytes in a file decide that it is of another format, which nobody audited.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BundleError(f"the model cannot be loaded: {_first_line(error)}") from None
        self.inputs: tuple[str, ...] = tuple(one.name for one in self._session.get_inputs())
        self.outputs: tuple[str, ...] = tuple(one.name for one in self._session.get_outputs())
        _watchdog.start()

    def run(self, outputs: Sequence[str], inputs: Arrays) -> list[npt.NDArray[Any]]:
        """The arrays called `outputs`, from all inputs of the model.

        Raises:
            BundleError: if the model does not have these outputs, cannot take these inputs, or
                does not come to an end.
        """
        options = ort.RunOptions()
        _watchdog.watch(options)
        try:
            found: list[npt.NDArray[Any]] = self._session.run(list(outputs), dict(inputs), options)
        except Exception as error:
            if options.terminate:
                raise BundleError(
                    f"one run of the model must end within {LONGEST_RUN_SECONDS} seconds, found "
                    "it still running; ask where the bundle comes from"
                ) from None
            raise BundleError(f"the model cannot be run: {_first_line(error)}") from None
        finally:
            _watchdog.release(options)
        return found


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
