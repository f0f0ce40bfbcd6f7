"""What a bundle keeps for drawing rows: how far held-out rows lie from what the decoder gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline.conditions import Conditions
from pipeline.decoding import DECODER, ENTRY, Decoder
from pipeline.feed import feed, flat
from pipeline.prologue import Prologue
from pipeline.residuals import measure, noisy_slots
from pipeline.runtime import Session

if TYPE_CHECKING:
    from training.checkpoint import Checkpoint

_ENCODER = "encoder.onnx"


def generation(files: Mapping[str, bytes], checkpoint: Checkpoint) -> bytes:
    """The file that `pipeline.generation` draws residuals and types from.

    Residuals are those of `files` on the checkpoint's held-out rows, of which no gradient was
    taken: on training rows they would be too small.
    """
    prologue, table = checkpoint.prologue, checkpoint.held_out
    found = np.empty((0, len(noisy_slots(prologue))))
    if table.num_rows:
        (codes,) = Session(files[_ENCODER]).run([ENTRY], feed(table, checkpoint.schema))
        decoder = Decoder(
            files[DECODER], numeric=len(prologue.numeric_slots), logits=sum(prologue.classes)
        )
        told = Conditions(prologue, table.schema, names=decoder.conditions, where=(), model=DECODER)
        columns = {name: flat(table, name) for name in table.column_names}
        decoded = decoder(codes, told.inputs(columns, table.num_rows))
        found = _residuals(prologue, prologue.run(table).numeric, decoded.numeric)
    return measure(found, table.schema).to_bytes()


def _residuals(
    prologue: Prologue, true: npt.NDArray[np.float32], given: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Value minus reconstruction of the noisy slots [N, S], NaN where the cell was null."""
    slots = prologue.numeric_slots
    marks = {slot.column: i for i, slot in enumerate(slots) if slot.view == "missing"}
    noisy = noisy_slots(prologue)
    found = true[:, noisy].astype(np.float64) - given[:, noisy]
    for place, slot in enumerate(noisy):
        mark = marks.get(slots[slot].column)
        if mark is not None:
            found[true[:, mark] > 0, place] = np.nan
    return found
