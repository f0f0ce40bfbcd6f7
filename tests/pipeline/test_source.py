import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import DataError, SchemaError
from pipeline.schema import FeatureSchema, infer
from pipeline.shards import plan_shards, read_batches
from pipeline.source import open_source


def write(path: Path, **columns: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, write_page_checksum=True)
    return path


def read(path: Path, *columns: str) -> pa.Table:
    source = open_source(path)
    return pa.Table.from_batches(list(read_batches(source, columns=columns)))


def test_files_are_found_in_a_fixed_order_and_strays_are_listed(tmp_path: Path) -> None:
    for name in ("b/2.parquet", "a/1.parquet", "_stage/x.parquet", ".hidden.parquet"):
        write(tmp_path / name, x=[1])
    (tmp_path / "a/notes.txt").write_text("hello")
    (tmp_path / "a/1.parquet.inprogress").write_bytes(b"")
    source = open_source(tmp_path)
    assert [f.relative for f in source.files] == ["a/1.parquet", "b/2.parquet"]
    assert source.skipped == ("a/1.parquet.inprogress", "a/notes.txt")


@pytest.mark.parametrize("found", [[], ["readme.txt"]])
def test_a_folder_without_parquet_files_is_refused(tmp_path: Path, found: list[str]) -> None:
    for name in found:
        (tmp_path / name).write_text("x")
    with pytest.raises(DataError, match=r"must hold files that end in \.parquet"):
        open_source(tmp_path)


def test_a_path_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_source(tmp_path / "nowhere")


@pytest.mark.parametrize("keep", [0, 3, 8, 100, -1])
def test_a_truncated_file_is_named(tmp_path: Path, keep: int) -> None:
    path = write(tmp_path / "x.parquet", x=list(range(1_000)))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"x\.parquet cannot be read"):
        open_source(tmp_path)


def test_a_flipped_bit_in_a_page_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", x=np.random.default_rng(0).normal(size=5_000))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"x\.parquet cannot be read"):
        read(path, "x")


def test_partition_values_stay_text_and_become_columns(tmp_path: Path) -> None:
    write(tmp_path / "day=02/city=S%C3%A3o/x.parquet", x=[1, 2])
    write(tmp_path / "day=10/city=__HIVE_DEFAULT_PARTITION__/x.parquet", x=[3])
    found = read(tmp_path, "day", "x", "city").to_pydict()
    assert found == {"day": ["02", "02", "10"], "x": [1, 2, 3], "city": ["São", "São", None]}


def test_a_partition_that_is_also_a_column_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "x=1/x.parquet", x=[1])
    with pytest.raises(SchemaError, match="'x' is a folder name and also a column"):
        open_source(tmp_path)


def test_files_under_different_partitions_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "day=1/x.parquet", x=[1])
    write(tmp_path / "x.parquet", x=[1])
    with pytest.raises(SchemaError, match="same name=value folders"):
        open_source(tmp_path)


def test_every_problem_of_every_file_is_reported_at_once(tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", x=[1.0], y=["a"])
    write(tmp_path / "2.parquet", x=["one"], y=["a"])
    write(tmp_path / "3.parquet", x=[1.0])
    contract = infer(pa.schema({"x": pa.float64(), "y": pa.string()}), pa.table({}))
    with pytest.raises(SchemaError) as caught:
        open_source(tmp_path).check(contract)
    assert "column 'x' must be number (double), found string" in str(caught.value)
    assert "[2.parquet]" in str(caught.value)
    assert "column 'y' (category) is missing [3.parquet]" in str(caught.value)


def test_the_type_of_a_column_is_the_first_that_is_not_null(tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", x=[None])
    write(tmp_path / "2.parquet", x=[1.5])
    assert open_source(tmp_path).arrow_schema.field("x").type == pa.float64()


def test_shards_cover_every_row_group_once(source: Path) -> None:
    shards = plan_shards(open_source(source))
    assert [(s.file.relative, s.row_groups) for s in shards] == [
        (f"day-{i}.parquet", (0, 1, 2, 3)) for i in range(3)
    ]


def test_a_large_file_is_cut_into_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.shards.ROWS_PER_SHARD", 500)
    pq.write_table(pa.table({"x": range(1_200)}), tmp_path / "x.parquet", row_group_size=200)
    shards = plan_shards(open_source(tmp_path))
    assert [s.row_groups for s in shards] == [(0, 1), (2, 3), (4, 5)]


def test_only_the_rows_of_a_shard_are_read(source: Path) -> None:
    shard = plan_shards(open_source(source))[1]
    batches = list(read_batches(shard, columns=["id"], rows_per_batch=128))
    assert sum(b.num_rows for b in batches) == 1_000
    assert max(b.num_rows for b in batches) <= 128


def test_a_file_replaced_while_read_fails_the_run(source: Path) -> None:
    opened = open_source(source)
    os.utime(source / "day-1.parquet", ns=(1, 1))
    with pytest.raises(DataError, match=r"day-1\.parquet changed while it was read"):
        list(read_batches(opened, columns=["id"]))


def test_the_fingerprint_follows_the_files(source: Path) -> None:
    before = open_source(source).fingerprint
    assert before == open_source(source).fingerprint
    write(source / "day-3.parquet", x=[1])
    assert before != open_source(source).fingerprint


def test_a_table_keeps_its_contract(source: Path, schema: FeatureSchema) -> None:
    open_source(source).check(schema)


def test_string_views_come_as_strings_that_can_be_filtered(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", x=pa.array(["a", None, "b"]).cast(pa.string_view()))
    found = read(path, "x").filter(pa.array([True, False, True]))
    assert found["x"].to_pylist() == ["a", "b"]
