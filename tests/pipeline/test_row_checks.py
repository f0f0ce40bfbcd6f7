"""Values that a type allows and the contract does not: named with file, column and row."""

import decimal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Bundle, EmbeddingJob, Encoder
from pipeline.config import ColumnOverride
from pipeline.errors import DataError
from pipeline.parts import part_batch, part_schema
from pipeline.schema import Column
from pipeline.schema_inference import infer
from pipeline.shards import Shard, plan_shards, read_batches
from pipeline.source import RowGroup, open_source

BAD = b"\xff\xfe"


def not_utf8(values: list[bytes | None], type_: pa.DataType) -> pa.Array:
    """Strings of any bytes, which Arrow does not look at when it reinterprets a column."""
    wide = pa.array(values, pa.large_binary() if pa.types.is_large_string(type_) else pa.binary())
    return pa.Array.from_buffers(type_, len(wide), wide.buffers())


def encoded(values: list[bytes | None]) -> pa.Array:
    words = list(dict.fromkeys(value for value in values if value is not None))
    codes = [None if value is None else words.index(value) for value in values]
    return pa.DictionaryArray.from_arrays(
        pa.array(codes, pa.int32()), not_utf8(list(words), pa.string())
    )


TEXTS: dict[str, Callable[[list[bytes | None]], pa.Array]] = {
    "string": lambda values: not_utf8(values, pa.string()),
    "large_string": lambda values: not_utf8(values, pa.large_string()),
    "dictionary": encoded,
}


def feature(array: pa.Array, **said: object) -> Column:
    table = pa.table({"x": array})
    overrides = {"x": ColumnOverride.model_validate(said)} if said else {}
    return infer(table.schema, table.slice(0, 1), overrides=overrides)["x"]


def refusal(path: Path, array: pa.Array, column: Column | None, **reading: object) -> str:
    """What is said of a file with the column x, four rows to a row group, three to a batch."""
    pq.write_table(pa.table({"x": array}), path / "x.parquet", row_group_size=4)
    features = [column] if column else []
    reading = {"columns": ["x"], "rows_per_batch": 3, "features": features} | reading
    with pytest.raises(DataError) as caught:
        list(read_batches(open_source(path), **reading))  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.parametrize("layout", TEXTS)
@pytest.mark.parametrize("row", [0, 2, 3, 9])
def test_text_that_is_not_utf8_names_file_column_and_row(
    tmp_path: Path, layout: str, row: int
) -> None:
    values: list[bytes | None] = [b"a", None, "日本".encode()] * 4
    values[row] = BAD
    said = refusal(tmp_path, TEXTS[layout](values), None)
    assert f"x.parquet: column 'x' must hold UTF-8 text, found other bytes in row {row} " in said


@pytest.mark.parametrize("row", [0, 3])
def test_text_read_as_codes_names_its_row_too(tmp_path: Path, row: int) -> None:
    values: list[bytes | None] = [b"a", b"b", None, b"b"]
    values[row] = BAD
    said = refusal(tmp_path, TEXTS["string"](values), None, dictionary=["x"])
    assert f"x.parquet: column 'x' must hold UTF-8 text, found other bytes in row {row} " in said


def test_a_dictionary_entry_that_no_row_uses_is_refused_too(tmp_path: Path) -> None:
    words = not_utf8([b"a", BAD], pa.string())
    unused = pa.DictionaryArray.from_arrays(pa.array([0, 0], pa.int32()), words)
    assert "other bytes in its dictionary" in refusal(tmp_path, unused, None)


def test_bytes_below_a_null_are_nobodys_text(tmp_path: Path) -> None:
    array = not_utf8([b"a", BAD], pa.string())
    hidden = pa.Array.from_buffers(
        pa.string(), 2, [pa.py_buffer(b"\x01"), *array.buffers()[1:]], null_count=1
    )
    pq.write_table(pa.table({"x": hidden}), tmp_path / "x.parquet")
    (batch,) = read_batches(open_source(tmp_path), columns=["x"])
    assert batch.column(0).to_pylist() == ["a", None]


@pytest.mark.parametrize("row", [1, 3, 6])
def test_a_list_of_another_length_names_file_row_and_length(tmp_path: Path, row: int) -> None:
    values: list[list[float] | None] = [[1.0, 2.0], None, [3.0, 4.0], [5.0, 6.0]] * 2
    column = feature(pa.array(values))
    values[row] = [1.0]
    said = refusal(tmp_path, pa.array(values), column)
    assert f"x.parquet: column 'x' must hold 2 numbers in every row, found 1 in row {row} " in said


@pytest.mark.parametrize("type_", [pa.list_(pa.float64()), pa.list_(pa.float64(), 2)])
@pytest.mark.parametrize("number", [1e300, -1e39])
def test_a_vector_number_that_float32_makes_infinite_is_refused(
    tmp_path: Path, type_: pa.DataType, number: float
) -> None:
    values = [[1.0, 2.0], None, [3.0, np.inf], [np.nan, 1.0], [None, 1.0], [1.0, number]]
    said = refusal(tmp_path, pa.array(values, type_), feature(pa.array(values, type_)))
    assert f"numbers within ±3.4e38, found {number:g} in row 5 " in said


def test_infinities_of_a_vector_are_left_to_the_model(tmp_path: Path) -> None:
    array = pa.array([[1.0, np.inf], [-np.inf, np.nan]])
    pq.write_table(pa.table({"x": array}), tmp_path / "x.parquet")
    source = open_source(tmp_path)
    (batch,) = read_batches(source, columns=[], features=[feature(array)])
    assert batch.num_rows == 2


@pytest.mark.parametrize(
    ("type_", "last"),
    [
        (pa.timestamp("s"), 2**44),
        (pa.timestamp("ms", "UTC"), -(2**62)),
        (pa.date32(), 2**31 - 1),
        (pa.date64(), 2**62 // 86_400_000 * 86_400_000),
    ],
)
def test_a_time_beyond_microseconds_names_its_row(
    tmp_path: Path, type_: pa.DataType, last: int
) -> None:
    narrow = pa.int32() if type_ == pa.date32() else pa.int64()
    array = pa.array([0, None, 0, 86_400_000, last], narrow).cast(type_)
    said = refusal(tmp_path, array, feature(array))
    assert "times within the range of int64 microseconds" in said
    assert "in row 4 " in said


def test_an_integer_category_beyond_int64_names_its_row(tmp_path: Path) -> None:
    array = pa.array([1, None, 2**64 - 1], pa.uint64())
    said = refusal(tmp_path, array, feature(array, kind="category"))
    assert "integers below 2^63, found 18446744073709551615 in row 2 " in said


def test_a_table_in_memory_names_the_row_too(bundle: Bundle, table: pa.Table) -> None:
    place = table.column_names.index("vector")
    values = [[1.0] * 6] * table.num_rows
    values[2_345] = [1.0] * 5
    with pytest.raises(DataError, match=r"'vector' must hold 6 numbers .* found 5 in row 2345 "):
        Encoder(bundle).transform(table.set_column(place, "vector", pa.array(values)))


def test_an_embedding_that_float16_cannot_hold_is_refused() -> None:
    job = EmbeddingJob(bundle="b", source="s", destination="d", dtype="float16")
    schema = part_schema(job, [], dim=2, model="m")
    with pytest.raises(DataError, match="beyond the range of float16"):
        part_batch(schema, [], np.array([[1.0, 70_000.0]], np.float32), None)


def test_a_footer_that_promises_more_rows_than_its_pages_hold_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": range(10)}), tmp_path / "x.parquet")
    (whole,) = plan_shards(open_source(tmp_path))
    promising = replace(whole.file, row_groups=(RowGroup(12, 100),))
    with pytest.raises(DataError, match=r"x\.parquet cannot be read: its pages lack 2 rows"):
        list(read_batches(Shard(0, promising, (0,)), columns=["x"]))


def test_rows_are_counted_from_the_start_of_the_file_in_every_shard(tmp_path: Path) -> None:
    values: list[bytes | None] = [b"a"] * 11 + [BAD]
    table = pa.table({"x": TEXTS["string"](values)})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=4)
    (whole,) = plan_shards(open_source(tmp_path))
    with pytest.raises(DataError, match="in row 11 "):
        list(read_batches(Shard(1, whole.file, (1, 2)), columns=["x"]))


def test_sound_values_of_every_kind_pass(tmp_path: Path, table: pa.Table) -> None:
    pq.write_table(table, tmp_path / "x.parquet")
    source = open_source(tmp_path)
    contract = infer(source.arrow_schema, table.slice(0, 9))
    rows = read_batches(source, columns=["id"], features=contract.features)
    assert pa.Table.from_batches(rows).num_rows == table.num_rows


EXTREMES = {
    "int64": pa.array([2**53 + 1, None, 2**63 - 1, -(2**63), 0], pa.int64()),
    "uint64": pa.array([2**64 - 1, None, 2**53 + 1], pa.uint64()),
    "float64": pa.array([np.nan, np.inf, -0.0, 5e-324, None, 1e308]),
    "nanoseconds": pa.array([2**63 - 1, None, 1], pa.timestamp("ns", "UTC")),
    "decimal": pa.array([decimal.Decimal("9" * 37 + ".1"), None], pa.decimal128(38, 1)),
    "binary": pa.array([b"\xff\x00", None, b""]),
    "string": pa.array(["", None, "\0", "日本", "x" * 70_000]),
    "boolean": pa.array([True, None, False]),
    "dictionary": pa.array(["b", None, "a", "b"]).dictionary_encode(),
    "date": pa.array([2_932_896, None, -719_162], pa.int32()).cast(pa.date32()),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_values_come_through_to_the_bit(tmp_path: Path, name: str) -> None:
    array = EXTREMES[name]
    pq.write_table(pa.table({"x": array}), tmp_path / "x.parquet")
    rows = pa.Table.from_batches(read_batches(open_source(tmp_path), columns=["x"]))
    found = rows["x"].combine_chunks()
    assert found.type == array.type
    assert [repr(value) for value in found] == [repr(value) for value in array]
