"""Between Arrow and numpy through buffers.

`pyarrow.array`, `pyarrow.scalar` and `to_numpy` import pandas, where it is installed, to see
whether they deal with any of it: a quarter of a second and 40 MB that a job on a server does not
owe. `to_numpy` also takes 33 microseconds a column where a view takes one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def numbers(values: npt.NDArray[Any], type_: pa.DataType) -> pa.Array:
    """The array of `type_` that holds the bytes of `values`, whose dtype must be its equal."""
    buffer = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(type_, len(values), [None, buffer])


def integer(value: int, type_: pa.DataType) -> pa.Scalar:
    """`value` as a scalar of an integer type.

    >>> integer(-3, pa.int32())
    <pyarrow.Int32Scalar: -3>
    """
    return numbers(np.array([value], np.int64), pa.int64()).cast(type_)[0]


def view(array: pa.Array) -> npt.NDArray[Any]:
    """The values of a number array without nulls, [rows]; read-only, no copy.

    >>> view(numbers(np.array([1.5, 2.5]), pa.float64()))
    array([1.5, 2.5])
    """
    return np.from_dlpack(array)


def nan(type_: pa.DataType) -> pa.Scalar:
    """Not-a-number as a scalar of float32 or float64."""
    return numbers(np.array([np.nan]), pa.float64()).cast(type_)[0]


def text(value: str) -> pa.Scalar:
    """`value` as a scalar of type large_string.

    >>> text("é")
    <pyarrow.LargeStringScalar: 'é'>
    """
    data = value.encode()
    offsets = pa.py_buffer(np.array([0, len(data)], np.int64))
    return pa.Array.from_buffers(pa.large_string(), 1, [None, offsets, pa.py_buffer(data)])[0]
