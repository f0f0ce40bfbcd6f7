"""From Arrow columns to model inputs: the only convention a client of the ONNX files must keep.

Numbers, decimals and booleans feed as float64 with NaN for null; timestamps and dates as int64
microseconds since 1970 with INT64_MIN for null; strings as strings with ``""`` for null; integers
declared categories as int64 with INT64_MIN for null; vectors as float32 [rows, length] with NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from pipeline import arrow
from pipeline.errors import DataError
from pipeline.schema import Column, FeatureSchema, is_text
from pipeline.values import wrong_length

# The inputs of core.onnx beside vector columns: feature-major blocks of all columns of a kind.
NUMBERS, TIMESTAMPS, CODES = "p2v/numbers", "p2v/timestamps", "p2v/codes"
NULL_TEXT = ""
NULL_INT = int(np.iinfo(np.int64).min)

Ints = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]


def feed(batch: pa.RecordBatch | pa.Table, schema: FeatureSchema) -> dict[str, npt.NDArray[Any]]:
    """The inputs of ``encoder.onnx`` for the rows of `batch`, by column name.

    Shape:
        every array has `batch.num_rows` rows; vectors are [rows, length], all others [rows].

    Raises:
        DataError: if values cannot be represented, naming the column and the row.
    """
    inputs = {}
    for column in schema.features:
        values = to_input(flat(batch, column.name), column)
        scalar = column.kind in ("number", "boolean")
        inputs[column.name] = values.astype(np.float64, copy=False) if scalar else values
    return inputs


def codes_output(name: str) -> str:
    """The output of lookup.onnx with the codes of the category column `name`."""
    return f"p2v/codes/{name}"


def flat(batch: pa.RecordBatch | pa.Table, name: str) -> pa.Array:
    """The column `name` as one array, whatever its chunks."""
    column = batch.column(name)
    if isinstance(column, pa.ChunkedArray):
        return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    return column


def to_input(array: pa.Array, column: Column) -> npt.NDArray[Any]:
    """One column as an array that the model's input of the same name can be filled from."""
    if column.kind in ("number", "boolean"):
        return to_numbers(array, column)
    if column.kind == "timestamp":
        return to_timestamps(array, column)
    if column.kind == "category":
        return to_labels(array, column)
    return to_vectors(array, column)


def to_numbers(array: pa.Array, column: Column) -> npt.NDArray[Any]:
    """Numbers, decimals or booleans as [rows] of a type that widens to float64, NaN where null.

    Without nulls this is a view of Arrow's buffer: whoever fills a float64 block from it copies
    and widens in one go.
    """
    if pt.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pt.is_boolean(array.type):
        array = array.cast(pa.uint8())
    elif pt.is_decimal(array.type) or pt.is_null(array.type):
        array = array.cast(pa.float64())
    elif pt.is_float16(array.type):
        array = array.cast(pa.float32())
    if array.null_count:
        if not pt.is_floating(array.type):
            # Integers beyond 2^53 round, which is allowed for features: keys never come here.
            array = array.cast(pa.float64(), safe=False)
        array = array.fill_null(arrow.nan(array.type))
    return arrow.view(array)


def to_timestamps(array: pa.Array, column: Column) -> Ints:
    """Times as int64 microseconds [rows] (UTC, or local where naive), INT64_MIN where null."""
    if pt.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pt.is_null(array.type):
        return np.full(len(array), NULL_INT, np.int64)
    zone = array.type.tz if pt.is_timestamp(array.type) else None
    try:
        # Finer units are floored: a feature does not need its nanoseconds.
        exact = array.cast(pa.timestamp("us", tz=zone), safe=array.type != pa.timestamp("ns", zone))
    except pa.ArrowInvalid as error:
        raise DataError(f"column '{column.name}' holds a time out of range: {error}") from None
    filled = exact.cast(pa.int64()).fill_null(arrow.integer(NULL_INT, pa.int64()))
    return arrow.view(filled)


def to_labels(array: pa.Array, column: Column) -> npt.NDArray[Any]:
    """Categories as an object array of str, or int64, [rows]; the null token where null."""
    if pt.is_dictionary(array.type):
        array = array.dictionary_decode()
    if "string" not in column.type:
        filled = array.cast(pa.int64()).fill_null(arrow.integer(NULL_INT, pa.int64()))
        return arrow.view(filled)
    text = array if is_text(array.type) else array.cast(pa.string())
    try:
        filled = text.cast(pa.large_string()).fill_null(arrow.text(NULL_TEXT))
        strings: npt.NDArray[Any] = np.empty(len(filled), object)
        strings[:] = filled.to_pylist()
    except (pa.ArrowException, UnicodeDecodeError):
        raise DataError(f"column '{column.name}' holds text that is not UTF-8; re-encode it") from (
            None
        )
    return strings


def to_vectors(array: pa.Array, column: Column) -> Vectors:
    """Lists of numbers as float32 [rows, length], NaN where null."""
    length = int(column.length or 0)
    if pt.is_null(array.type):
        return np.full((len(array), length), np.nan, np.float32)
    if problem := wrong_length(array, length):
        raise DataError(problem.told(column.name))
    values = to_numbers(pc.list_flatten(array), column).astype(np.float32, copy=False)
    rows: Vectors = values.reshape(-1, length)
    if not array.null_count:
        return rows
    matrix = np.full((len(array), length), np.nan, np.float32)
    matrix[arrow.view(array.is_valid().cast(pa.uint8())).astype(bool)] = rows
    return matrix
