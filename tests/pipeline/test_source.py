import gzip
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import DataError, SchemaError
from pipeline.files import look
from pipeline.parquet import read_footer
from pipeline.schema import FeatureSchema
from pipeline.schema_inference import infer
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


def test_every_file_that_is_not_parquet_is_named_at_once(tmp_path: Path) -> None:
    good = write(tmp_path / "good.parquet", x=[1]).read_bytes()
    (tmp_path / "csv.parquet").write_text("a,b\n1,2\n" * 100)
    (tmp_path / "empty.parquet").write_bytes(b"")
    (tmp_path / "gz.parquet").write_bytes(gzip.compress(good))
    (tmp_path / "head.parquet").write_bytes(b"XXXX" + good[4:])
    with pytest.raises(DataError) as caught:
        open_source(tmp_path)
    said = str(caught.value)
    assert [name in said for name in ("csv", "empty", "gz", "head", "good")] == [True] * 4 + [False]


@pytest.mark.parametrize("rows", [10, 20_000])
@pytest.mark.parametrize("count", [2, 3, 30])
def test_files_written_one_after_the_other_are_refused(
    tmp_path: Path, rows: int, count: int
) -> None:
    random = np.random.default_rng(0)
    path = tmp_path / "all.parquet"
    days = [
        write(tmp_path / f"{day}", x=random.normal(size=rows), y=[day] * rows).read_bytes()
        for day in range(count)
    ]
    path.write_bytes(b"".join(days))
    with pytest.raises(DataError, match=r"all\.parquet cannot be read: .*one after the other"):
        open_source(path)


def test_a_footer_that_miscounts_its_rows_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", x=range(1_000))
    data = path.read_bytes()
    # Thrift's compact protocol: an i64 field, then 1,000 and 1,001 in zigzag and seven bits a byte.
    counted, more = b"\x16\xd0\x0f", b"\x16\xd2\x0f"
    at = data.index(counted, len(data) - 8 - int.from_bytes(data[-8:-4], "little"))
    path.write_bytes(data[:at] + more + data[at + 3 :])
    with pytest.raises(DataError, match=r"x\.parquet cannot be read: its footer miscounts"):
        open_source(path)


def test_of_many_broken_files_twenty_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    for index in range(30):
        (tmp_path / f"{index}.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"… and 10 more files"):
        open_source(tmp_path)


def test_a_pipe_is_refused_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x\.parquet must be a file"):
        open_source(tmp_path)


def test_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match=r"x\.parquet cannot be read: No such file"):
        open_source(tmp_path)


def test_rows_behind_a_linked_folder_are_read(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere/x.parquet", x=[1])
    write(tmp_path / "table/y.parquet", x=[2])
    (tmp_path / "table/linked").symlink_to(tmp_path / "elsewhere")
    assert open_source(tmp_path / "table").rows == 2


def test_a_linked_folder_that_would_be_read_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a/x.parquet", x=[1])
    (tmp_path / "a/again").symlink_to(tmp_path / "a")
    with pytest.raises(DataError, match=r"again leads to .*read twice"):
        open_source(tmp_path)


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_linked_file_that_would_be_read_twice_is_refused(
    tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    link(tmp_path / "latest.parquet", write(tmp_path / "b.parquet", x=[1]))
    with pytest.raises(DataError, match=r"latest\.parquet and .*b\.parquet are one file"):
        open_source(tmp_path)


def test_a_folder_that_cannot_be_listed_is_no_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a/x.parquet", x=[1])
    write(tmp_path / "b/x.parquet", x=[1])
    scandir = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match=r"b cannot be listed: Permission denied"):
        open_source(tmp_path)


def test_a_file_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    good = write(tmp_path / "x.parquet", x=[1])
    good.rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\x1b[2J.parquet"))
    with pytest.raises(DataError, match=r"udcff\\x1b\[2J\.parquet must have a name in UTF-8"):
        open_source(tmp_path)


def test_a_column_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    pq.write_table(twice, tmp_path / "x.parquet")
    with pytest.raises(SchemaError, match=r"column 'x' stands more than once in .*x\.parquet"):
        open_source(tmp_path)


@pytest.mark.parametrize(("checksums", "without"), [(True, 0), (False, 2)])
def test_files_whose_pages_have_no_checksums_are_counted(
    tmp_path: Path, checksums: bool, without: int
) -> None:
    for name, columns in {"a": {"x": range(1_000)}, "b": {"x": ["a", "b"]}, "c": {}}.items():
        pq.write_table(
            pa.table(columns), tmp_path / f"{name}.parquet", write_page_checksum=checksums
        )
    assert open_source(tmp_path).without_checksums == without


@pytest.mark.parametrize("codec", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("rows", [1, 100, 100_000])
@pytest.mark.parametrize("checksums", [True, False])
def test_a_page_header_tells_its_checksum(
    tmp_path: Path, codec: str, version: str, rows: int, checksums: bool
) -> None:
    table = pa.table({"x": np.arange(rows) * 0.1})
    path = tmp_path / "x.parquet"
    pq.write_table(
        table, path, compression=codec, data_page_version=version, write_page_checksum=checksums
    )
    assert read_footer(look(path, path)).checksums == checksums


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


@pytest.mark.parametrize(
    ("folder", "value"),
    [
        ("..%2F..%2Fetc", "../../etc"),
        ("%00", "\0"),
        ("a=b", "a=b"),
        ("", ""),
        ("100%", "100%"),
        (" 02", " 02"),
        ("%E2%80%AE", "\u202e"),
    ],
)
def test_a_partition_value_is_text_whatever_it_says(
    tmp_path: Path, folder: str, value: str
) -> None:
    write(tmp_path / f"day={folder}/x.parquet", x=[1])
    assert read(tmp_path, "day")["day"].to_pylist() == [value]


def test_a_partition_value_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "day=%FF/x.parquet", x=[1])
    with pytest.raises(DataError, match=r"lies under 'day=%FF', which is not UTF-8"):
        open_source(tmp_path)


def test_a_partition_that_stands_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "day=1/day=2/x.parquet", x=[1])
    with pytest.raises(SchemaError, match="partition 'day' stands more than once"):
        open_source(tmp_path)


def test_a_column_of_a_number_is_not_taken_from_a_folder_name(tmp_path: Path) -> None:
    write(tmp_path / "day=1/x.parquet", x=[1])
    contract = infer(pa.schema({"x": pa.int64(), "day": pa.int64()}), pa.table({}))
    with pytest.raises(SchemaError, match=r"'day' must be number \(int64\), found string"):
        open_source(tmp_path).check(contract)


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


def replaced(path: Path) -> None:
    """Another file under the same name, of the same size and time."""
    status = path.stat()
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(path.read_bytes()[::-1])


def grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


def touched(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def vanished(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("batches", [0, 1, 5])
@pytest.mark.parametrize("change", [replaced, overwritten, grown, truncated, touched, vanished])
def test_a_file_that_changes_while_it_is_read_fails_the_run(
    source: Path, change: Callable[[Path], None], batches: int
) -> None:
    path = source / "day-1.parquet"
    reading = read_batches(open_source(path), columns=["amount", "city"], rows_per_batch=200)
    for _ in range(batches):
        next(reading)
    change(path)
    with pytest.raises(DataError, match=r"day-1\.parquet (changed|vanished) while it was read"):
        list(reading)


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


def test_small_row_groups_are_read_in_batches_of_a_useful_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pa.table({"id": range(1_000), "c": [f"k{i // 10}" for i in range(1_000)]})
    pq.write_table(rows, tmp_path / "x.parquet", row_group_size=10)
    source = open_source(tmp_path / "x.parquet")

    def sizes() -> list[int]:
        batches = read_batches(source, columns=["id", "c"], rows_per_batch=128, dictionary=["c"])
        found = list(batches)
        assert (
            pa.concat_batches(found).cast(rows.schema).equals(rows.combine_chunks().to_batches()[0])
        )
        return [batch.num_rows for batch in found]

    assert min(sizes()[:-1]) >= 64
    monkeypatch.setattr("pipeline.shards.BYTES_GATHERED", 1)
    assert max(sizes()) <= 10


def test_views_can_be_filtered(tmp_path: Path) -> None:
    texts = pa.array(["a", "b"])
    columns = {"t": texts.cast(pa.string_view()), "b": texts.cast(pa.binary_view())}
    write(tmp_path / "x.parquet", **columns)
    found = read(tmp_path, *columns).filter(pa.array([False, True]))
    assert found.to_pylist() == [{"t": "b", "b": b"b"}]


def test_extension_types_come_as_they_are_stored(tmp_path: Path) -> None:
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((2, 2, 2), np.float32))
    columns = {
        "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a":1}', "{}"])),
        "bool8": pa.ExtensionArray.from_storage(pa.bool8(), pa.array([0, 1], pa.int8())),
        "tensor": tensors,
    }
    write(tmp_path / "x.parquet", **columns)
    found = read(tmp_path, *columns)
    assert not any(isinstance(f.type, pa.BaseExtensionType) for f in found.schema)
    schema = infer(open_source(tmp_path).arrow_schema, found)
    assert [column.kind for column in schema.columns] == ["category", "number", "vector"]
