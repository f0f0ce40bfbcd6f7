"""From drawn numbers to Arrow columns of the training table's types: the way back of `feed`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from pipeline import arrow
from pipeline.schema import is_text, value_type

Values = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_MICROSECONDS = {"s": 10**6, "ms": 10**3, "us": 1}
_DAY = 86_400 * 10**6


def numbers(values: Floats, valid: Mask, type_: pa.DataType) -> pa.Array:
    """Numbers [N] in any numeric type, null where not `valid`.

    Integers are rounded and held within the range of their type.
    """
    plain = value_type(type_)
    if pt.is_decimal(plain):
        exact = _masked(values, valid, pa.float64())
        return _encoded(exact.cast(plain, safe=False), type_)
    if pt.is_integer(plain):
        return _encoded(_masked(whole(values, plain), valid, plain), type_)
    dtype = plain.to_pandas_dtype()
    with np.errstate(over="ignore"):
        return _encoded(_masked(values.astype(dtype), valid, plain), type_)


def whole(values: Floats, type_: pa.DataType) -> Values:
    """The whole numbers next to `values`, in the range and the dtype of an integer type."""
    dtype = np.dtype(type_.to_pandas_dtype())
    limits = np.iinfo(dtype)
    # The largest double that is no larger: 2^63 - 1 itself would round up, beyond the range.
    most = float(limits.max)
    most = most if most <= limits.max else float(np.nextafter(most, 0))
    return np.clip(np.rint(values), float(limits.min), most).astype(dtype)


def times(micros: Floats, valid: Mask, type_: pa.DataType) -> pa.Array:
    """Times [N] from microseconds since 1970, in any timestamp or date type; finer ones are cut."""
    plain = value_type(type_)
    whole_micros = whole(micros, pa.int64())
    if pt.is_date32(plain):
        days = np.floor_divide(whole_micros, _DAY)
        return _encoded(_masked(days.astype(np.int32), valid, plain), type_)
    if pt.is_date64(plain):
        days = np.floor_divide(whole_micros, _DAY) * (_DAY // 1000)
        return _encoded(_masked(days, valid, plain), type_)
    if plain.unit == "ns":
        most = np.iinfo(np.int64).max // 1000
        return _encoded(_masked(np.clip(whole_micros, -most, most) * 1000, valid, plain), type_)
    return _encoded(
        _masked(np.floor_divide(whole_micros, _MICROSECONDS[plain.unit]), valid, plain), type_
    )


def booleans(values: Mask, valid: Mask, type_: pa.DataType) -> pa.Array:
    """Truths [N], null where not `valid`."""
    buffers = [_bits(valid), _bits(values)]
    return _encoded(pa.Array.from_buffers(pa.bool_(), len(values), buffers), type_)


def categories(
    places: npt.NDArray[np.int64], valid: Mask, values: Sequence[Any], type_: pa.DataType
) -> pa.Array:
    """The `values` at `places` [N], null where not `valid`; dictionary-encoded if `type_` is."""
    plain = value_type(type_)
    distinct = texts(values) if is_text(plain) else _whole_numbers(values, plain)
    indices = _masked(places.astype(np.int32), valid, pa.int32())
    if not pt.is_dictionary(type_):
        return pa.DictionaryArray.from_arrays(indices, distinct).dictionary_decode().cast(plain)
    return pa.DictionaryArray.from_arrays(
        indices.cast(type_.index_type), distinct.cast(plain), ordered=type_.ordered
    )


def vectors(values: Floats, valid: Mask, type_: pa.DataType) -> pa.Array:
    """Lists of numbers [N, length], a null list where not `valid`."""
    rows, length = values.shape
    every = np.ones(rows * length, bool)
    if pt.is_fixed_size_list(type_):
        inner = numbers(values.reshape(-1), every, type_.value_type)
        return pa.Array.from_buffers(type_, rows, [_bits(valid)], children=[inner])
    inner = numbers(values[valid].reshape(-1), every[: valid.sum() * length], type_.value_type)
    wide = pt.is_large_list(type_)
    ends = np.concatenate([[0], np.cumsum(np.where(valid, length, 0))])
    offsets = pa.py_buffer(ends.astype(np.int64 if wide else np.int32))
    return pa.Array.from_buffers(type_, rows, [_bits(valid), offsets], children=[inner])


def texts(values: Sequence[str]) -> pa.Array:
    """Strings as an array of type large_string.

    >>> texts(["a", "é"]).to_pylist()
    ['a', 'é']
    """
    encoded = [value.encode() for value in values]
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in encoded])]).astype(np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.large_string(), len(encoded), buffers)


def _whole_numbers(values: Sequence[int], type_: pa.DataType) -> pa.Array:
    return arrow.numbers(np.array(values, np.int64), pa.int64()).cast(type_)


def _masked(values: Values, valid: Mask, type_: pa.DataType) -> pa.Array:
    buffers = [_bits(valid), pa.py_buffer(np.ascontiguousarray(values))]
    return pa.Array.from_buffers(type_, len(values), buffers)


def _bits(mask: Mask) -> pa.Buffer:
    return pa.py_buffer(np.packbits(mask, bitorder="little"))


def _encoded(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """`array` as it is, or encoded as the dictionary type that the training table had."""
    return array.dictionary_encode().cast(type_) if pt.is_dictionary(type_) else array
