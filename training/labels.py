"""Labels as numbers beside the matrix: what the choice between candidates asks a probe about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from pipeline.feed import flat
from training.rows import MOST_CLASSES, MOST_INTEGER_CLASSES
from training.scoring import Array, Task

Floats = npt.NDArray[np.float64]


@dataclass
class LabelCoder:
    """Turns the label columns of batch after batch into float64 [N, L], NaN where null.

    Numbers and booleans keep their value; everything else gets a number by first appearance.
    """

    names: tuple[str, ...]
    seen: dict[str, dict[Any, int]] = field(default_factory=dict)

    def code(self, batch: pa.RecordBatch) -> Floats:
        """The labels of `batch`, [N, L]."""
        columns = [self._column(flat(batch, name), name) for name in self.names]
        return np.column_stack(columns) if columns else np.empty((batch.num_rows, 0))

    def _column(self, array: pa.Array, name: str) -> Floats:
        if pt.is_dictionary(array.type):
            array = array.dictionary_decode()
        if pt.is_boolean(array.type):
            array = array.cast(pa.uint8())
        if pt.is_integer(array.type) or pt.is_floating(array.type) or pt.is_decimal(array.type):
            return np.asarray(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
        encoded = array.cast(pa.large_string()).dictionary_encode()
        known = self.seen.setdefault(name, {})
        numbers = [known.setdefault(value, len(known)) for value in encoded.dictionary.to_pylist()]
        table = np.array([*numbers, np.nan], np.float64)
        coded: Floats = table[
            encoded.indices.fill_null(len(numbers)).to_numpy(zero_copy_only=False)
        ]
        return coded


def task_of(values: Floats, *, text: bool) -> Task | None:
    """What a probe is asked to tell; None where there is nothing to tell apart, or too much.

    The rule is that of evaluation: fractions, and whole numbers with over 50 values, are numbers.
    """
    distinct = np.unique(values[np.isfinite(values)])
    if len(distinct) < 2:
        return None
    whole = bool((distinct == np.round(distinct)).all())
    if len(distinct) == 2:
        return "two classes"
    if not text and (not whole or len(distinct) > MOST_INTEGER_CLASSES):
        return "numbers"
    return "classes" if len(distinct) <= MOST_CLASSES else None


def as_target(values: Floats, task: Task, *, known: Floats) -> Array:
    """Finite label values as a probe takes them: class numbers among `known` values, or values."""
    if task == "numbers":
        return values
    places = np.searchsorted(known, values)
    here = known[np.minimum(places, len(known) - 1)] == values
    return np.where(here, places, -1).astype(np.int64)
