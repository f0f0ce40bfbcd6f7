"""Keys that are declared unique: rows without one, and rows that repeat one."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Bundle, EmbeddingJob, embed, keys
from pipeline.errors import ConfigError, DataError
from pipeline.source import open_source

PLENTY = 10**12


def write(folder: Path, *tables: pa.Table) -> Path:
    folder.mkdir(exist_ok=True)
    for index, table in enumerate(tables):
        pq.write_table(table, folder / f"{index}.parquet", row_group_size=3)
    return folder


def check(folder: Path, *tables: pa.Table, names: Sequence[str] = ("id",)) -> None:
    source = open_source(write(folder, *tables))
    keys.require_unique(source, source.arrow_schema, names, memory=PLENTY)


def ids(values: object, type_: pa.DataType | None = None) -> pa.Table:
    return pa.table({"id": pa.array(values, type_)})


REPEATS = {
    "int64": ids([2**53, 2**53 + 1, 7, 7]),
    "int8": ids([1, 2, 3, 2], pa.int8()),
    "uint64": ids([2**64 - 1, 0, 1, 2**64 - 1], pa.uint64()),
    "text": ids(["", "a", "日本", "日本"]),
    "large text": ids(["", "a", "ab", "ab"], pa.large_string()),
    "views": ids(["", "a", "x" * 40, "x" * 40], pa.string_view()),
    "dictionary": pa.table({"id": pa.array(["a", "b", "c", "b"]).dictionary_encode()}),
    "bytes": ids([b"\xff", b"\x00", b"", b"\xff"]),
    "fixed bytes": ids([b"ab", b"cd", b"ef", b"ab"], pa.binary(2)),
    "decimal": ids([Decimal("1.10"), Decimal("1.01"), Decimal("2.00"), Decimal("1.10")]),
    "time": ids([1, 2, 3, 1], pa.timestamp("ns", "UTC")),
    "day": ids([1, 2, 3, 1], pa.int32()).cast(pa.schema({"id": pa.date32()})),
    "float": ids([0.0, -0.0, np.nan, np.nan]),
    "boolean": ids([True, False, True]),
    "list": ids([[1], [2], [], [1]]),
    "struct": ids([{"a": 1}, {"a": 2}, {"a": None}, {"a": 1}]),
}


@pytest.mark.parametrize("name", REPEATS)
def test_a_key_that_stands_twice_is_refused_and_its_twin_accepted(
    tmp_path: Path, name: str
) -> None:
    table = REPEATS[name]
    check(tmp_path, table.slice(0, table.num_rows - 1))
    with pytest.raises(
        DataError, match=r"found: 1 row \(0\.parquet row \d as 0\.parquet row \d\) with"
    ):
        check(tmp_path, table)


def test_a_key_may_repeat_across_files_of_other_widths_and_is_found(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\(1\.parquet row 4 as 0\.parquet row 1\)"):
        check(tmp_path, ids([1, 2, 3]), ids([9, 8, 7, 6, 2], pa.int32()))


def test_keys_of_several_columns_are_compared_together(tmp_path: Path) -> None:
    table = pa.table({"id": [1, 1, 2, 2], "day": ["a", "b", "a", "b"]})
    check(tmp_path, table, names=("id", "day"))
    with pytest.raises(DataError, match=r"\(id, day\), found: 1 row \("):
        check(tmp_path, table, table.slice(3), names=("id", "day"))


def test_rows_without_a_key_are_counted_and_shown(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"3 rows \(0\.parquet row 1, 1\.parquet row 0\) without one"
    ):
        check(tmp_path, ids([1, None, 2]), ids([None, None, 3], pa.int64()))


def test_missing_and_repeated_keys_are_told_in_one_message(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 row .* without one; 2 rows .* with that of another"):
        check(tmp_path, ids([1, None, 1]), ids([1]))


def test_a_key_itself_is_never_told(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        check(tmp_path, ids(["a.person@example.org"] * 2))
    assert "person" not in str(caught.value)


def test_two_keys_of_one_hash_are_no_repeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "mix", lambda values: values & np.uint64(1))
    check(tmp_path, ids(range(20)))
    with pytest.raises(DataError, match=r"\(1\.parquet row 0 as 0\.parquet row 5\)"):
        check(tmp_path, ids(range(20)), ids([5]))


@pytest.mark.parametrize("rows_at_a_time", [1, 2, 3, 50, 100])
def test_repeats_are_found_across_the_slices_of_the_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_at_a_time: int
) -> None:
    monkeypatch.setattr(keys, "_ROWS_AT_A_TIME", rows_at_a_time)
    check(tmp_path, ids(range(100)))
    with pytest.raises(DataError, match="found: 100 rows "):
        check(tmp_path, ids(range(100)), ids(range(100)))


def test_hashes_that_do_not_fit_into_memory_are_refused(tmp_path: Path) -> None:
    source = open_source(write(tmp_path, ids(range(9))))
    with pytest.raises(ConfigError, match=r"needs \d+MB of memory for 9 rows, found 1MB"):
        keys.require_unique(source, source.arrow_schema, ["id"], memory=10**6)


@pytest.fixture
def job(bundle_of: Callable[..., Bundle], tmp_path: Path) -> Callable[..., EmbeddingJob]:
    """A job over rows with a null key and a repeated one; `roles` are those of the bundle."""

    def make(unique: bool, **roles: object) -> EmbeddingJob:
        rows = pa.table({"id": [1, None, 3, 3], "x": [1.0, 2.0, 3.0, 4.0]})
        return EmbeddingJob(
            bundle=str(bundle_of(rows, **roles).path),
            source=str(write(tmp_path / "in", rows)),
            destination=str(tmp_path / "to"),
            unique_keys=unique,
        )

    return make


def test_null_keys_are_counted_by_default(job: Callable[..., EmbeddingJob]) -> None:
    asked = job(False, keys=["id"])
    first, again = embed(asked), embed(asked)
    assert (first.null_keys, again.null_keys, again.published) == (1, 1, False)


def test_declared_unique_they_are_refused_and_nothing_is_published(
    job: Callable[..., EmbeddingJob], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"1 row .* without one; 1 row .* with that of another"):
        embed(job(True, keys=["id"]))
    assert not (tmp_path / "to/current").exists()


def test_keys_cannot_be_unique_where_there_are_none(job: Callable[..., EmbeddingJob]) -> None:
    with pytest.raises(ConfigError, match="train with --key"):
        embed(job(True, ignore=["id"]))
