import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import DataError
from pipeline.feed import NULL_INT, to_input, to_vectors
from pipeline.schema import Column
from pipeline.schema_inference import infer


def fed(array: pa.Array) -> np.ndarray:
    table = pa.table({"x": array})
    return to_input(array, infer(table.schema, table)["x"])


def test_null_numbers_become_nan_and_the_rest_stays_exact() -> None:
    assert str(fed(pa.array([1, None, 2**53])).tolist()) == "[1.0, nan, 9007199254740992.0]"


def test_booleans_become_zero_and_one() -> None:
    assert str(fed(pa.array([True, None, False])).tolist()) == "[1.0, nan, 0.0]"


def test_dates_become_microseconds() -> None:
    days = pa.array([1, None], pa.int32()).cast(pa.date32())
    assert fed(days).tolist() == [86_400_000_000, NULL_INT]


def test_nanoseconds_are_floored_to_microseconds() -> None:
    assert fed(pa.array([1_999], pa.timestamp("ns"))).tolist() == [1]


def test_a_time_beyond_microseconds_names_its_column() -> None:
    with pytest.raises(DataError, match="'x' holds a time out of range"):
        fed(pa.array([2**60], pa.timestamp("s")))


def test_null_text_becomes_the_null_token_and_never_the_word_none() -> None:
    assert fed(pa.array(["日本", None, ""]).dictionary_encode()).tolist() == ["日本", "", ""]


def test_a_null_vector_is_a_row_of_nan() -> None:
    found = fed(pa.array([[1, 2], None, [3, None]], pa.list_(pa.int32(), 2)))
    assert str(found.tolist()) == "[[1.0, 2.0], [nan, nan], [3.0, nan]]"


def test_a_sliced_vector_column_starts_at_its_slice() -> None:
    array = pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.float32(), 2)).slice(1)
    assert fed(array).tolist() == [[3.0, 4.0], [5.0, 6.0]]


def test_a_list_of_the_wrong_length_names_its_row() -> None:
    column = Column(name="x", kind="vector", role="feature", type="list<double>", length=2)
    with pytest.raises(DataError, match="'x' must hold 2 numbers in every row, found 1 in row 2"):
        to_vectors(pa.array([[1.0, 2.0], None, [1.0]]), column)


def test_text_that_is_not_utf8_names_its_column() -> None:
    data = pa.py_buffer(b"\xff\xfe")
    array = pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 2], np.int32)), data)
    with pytest.raises(DataError, match="'x' holds text that is not UTF-8"):
        fed(array)
