"""Values that a table's types allow and its contract does not: the first one, and why.

They are looked for in what was just decoded, before anything is computed from it, which costs a
hundredth of the decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from pipeline import arrow
from pipeline.schema import Column, is_text, value_type

_LARGEST_FLOAT = float(np.finfo(np.float32).max)
_LARGEST_INT = int(np.iinfo(np.int64).max)
_MICROSECONDS = {"s": 10**6, "ms": 10**3}
_MICROSECONDS_A_DAY = 86_400 * 10**6


class Problem(NamedTuple):
    """A row of a batch and what is wrong there; no row where none of the batch shows it."""

    row: int | None
    required: str
    found: str
    remedy: str

    def told(self, name: str, *, first_row: int = 0) -> str:
        """The problem of the column `name`, with the row's place in the file."""
        row = None if self.row is None else first_row + self.row
        place = "its dictionary" if row is None else f"row {row} (the first is row 0)"
        return (
            f"column '{name}' must hold {self.required}, found {self.found} in {place}; "
            f"{self.remedy}"
        )


def find_problem(batch: pa.RecordBatch, columns: Sequence[Column]) -> tuple[str, Problem] | None:
    """The first column with a problem: text that is not UTF-8, or `columns` no model can take."""
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if problem := not_utf8(array):
            return name, problem
    for column in columns:
        if problem := beyond_model(batch.column(column.name), column):
            return column.name, problem
    return None


def not_utf8(array: pa.Array) -> Problem | None:
    """The first string that is not UTF-8; columns of other types have none."""
    if not is_text(value_type(array.type)):
        return None
    values = array.dictionary if pt.is_dictionary(array.type) else array
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        wrong = np.array([not _is_utf8(value) for value in values.cast(pa.large_binary())], bool)
        # The dictionary of a row group may hold more than the rows of one batch use.
        row = _first(_picked(wrong, array) if pt.is_dictionary(array.type) else wrong)
        return Problem(row, "UTF-8 text", "other bytes", "re-encode it")
    return None


def _is_utf8(value: pa.Scalar) -> bool:
    try:
        (value.as_py() or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _picked(wrong: npt.NDArray[np.bool_], array: pa.DictionaryArray) -> npt.NDArray[np.bool_]:
    """Whether each row of `array` shows a value of its dictionary that is `wrong`."""
    nowhere = arrow.integer(len(wrong), pa.int64())
    rows: npt.NDArray[np.bool_] = np.append(wrong, False)[
        arrow.view(array.indices.cast(pa.int64()).fill_null(nowhere))
    ]
    return rows


def beyond_model(array: pa.Array, column: Column) -> Problem | None:
    """The first value of a feature that the model's input cannot hold."""
    if pt.is_null(array.type):
        return None
    if column.kind in ("vector", "image"):
        return wrong_length(array, int(column.length or 0)) or _infinite_as_float32(array)
    if column.kind == "timestamp":
        return _beyond_microseconds(array)
    if column.kind == "category":
        return _beyond_int64(array)
    return None


def wrong_length(array: pa.Array, length: int) -> Problem | None:
    """The first list that does not have `length` elements; nulls have any length."""
    if pt.is_fixed_size_list(array.type):
        return None
    lengths = pc.list_value_length(array)
    lengths = arrow.view(lengths.fill_null(arrow.integer(length, lengths.type)))
    row = _first(lengths != length)
    if row is None:
        return None
    return Problem(row, f"{length} numbers in every row", f"{lengths[row]}", "cut or pad it")


def _infinite_as_float32(array: pa.Array) -> Problem | None:
    if not pt.is_float64(array.type.value_type):
        return None
    numbers = pc.list_flatten(array)
    if _within(numbers, _LARGEST_FLOAT):
        return None
    values = arrow.view(numbers.fill_null(arrow.nan(numbers.type)))
    at = _first(np.isfinite(values) & (np.abs(values) > _LARGEST_FLOAT))
    if at is None:
        return None
    row = int(arrow.view(pc.list_parent_indices(array))[at])
    return Problem(row, "numbers within ±3.4e38", f"{values[at]:g}", "scale or remove it")


def _beyond_microseconds(array: pa.Array) -> Problem | None:
    type_ = value_type(array.type)
    unit = _MICROSECONDS_A_DAY if pt.is_date32(type_) else _MICROSECONDS.get(_unit(type_), 1)
    if unit == 1:
        return None
    plain = array.dictionary_decode() if pt.is_dictionary(array.type) else array
    counted = plain.cast(pa.int32() if pt.is_date32(type_) else pa.int64()).cast(pa.int64())
    largest = _LARGEST_INT // unit
    if _within(counted, largest):
        return None
    values = arrow.view(counted.fill_null(arrow.integer(0, pa.int64())))
    row = _first((values > largest) | (values < -largest))
    found = f"{values[row or 0]} as {type_}"
    return Problem(row, "times within the range of int64 microseconds", found, "mend or remove it")


def _unit(type_: pa.DataType) -> str:
    return str(type_.unit) if pt.is_timestamp(type_) else "ms"


def _beyond_int64(array: pa.Array) -> Problem | None:
    if not pt.is_uint64(value_type(array.type)):
        return None
    plain = array.dictionary_decode() if pt.is_dictionary(array.type) else array
    values = arrow.view(plain.fill_null(arrow.integer(0, plain.type)))
    row = _first(values > _LARGEST_INT)
    if row is None:
        return None
    return Problem(row, "integers below 2^63", f"{values[row]}", "store them as text")


def _within(array: pa.Array, largest: float) -> bool:
    """Whether no number lies outside ±`largest`; nulls and NaN lie nowhere."""
    bounds = pc.min_max(array)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    return low is None or (low >= -largest and high <= largest)


def _first(wrong: npt.NDArray[Any]) -> int | None:
    row = int(wrong.argmax()) if len(wrong) else 0
    return row if len(wrong) and wrong[row] else None
