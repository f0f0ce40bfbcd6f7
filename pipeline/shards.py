"""Shards of a source, and the record batches of a source or a shard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from pipeline import arrow
from pipeline.errors import DataError, Parquet2VecError
from pipeline.expansion import affordable_rows, surplus_elements
from pipeline.parquet import open_parquet, unreadable
from pipeline.schema import Column
from pipeline.source import RowGroup, Source, SourceFile
from pipeline.values import Problem, find_problem, not_utf8

ROWS_PER_SHARD = 1_000_000
BYTES_PER_SHARD = 128 * 2**20
ROWS_PER_BATCH = 65_536
BYTES_GATHERED = 2**22


@dataclass(frozen=True)
class Shard:
    """Consecutive row groups of one file: the unit of work, written as one part."""

    index: int
    file: SourceFile
    row_groups: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Rows in the shard."""
        return sum(self.file.row_groups[i].rows for i in self.row_groups)

    @property
    def first_row(self) -> int:
        """Place of the shard's first row in its file."""
        before = self.row_groups[0] if self.row_groups else 0
        return sum(group.rows for group in self.file.row_groups[:before])


def plan_shards(source: Source) -> list[Shard]:
    """The shards of a source: row groups of one file up to a million rows or 128 MiB.

    A file without rows is a shard too, so that its output exists and has the right schema.
    """
    shards: list[Shard] = []
    for file in source.files:
        for groups in _fill(file.row_groups):
            shards.append(Shard(len(shards), file, groups))
    return shards


def _fill(row_groups: Sequence[RowGroup]) -> list[tuple[int, ...]]:
    shards: list[list[int]] = [[]]
    rows = size = 0
    for index, group in enumerate(row_groups):
        full = rows + group.rows > ROWS_PER_SHARD or size + group.bytes > BYTES_PER_SHARD
        if shards[-1] and full:
            shards.append([])
            rows = size = 0
        shards[-1].append(index)
        rows, size = rows + group.rows, size + group.bytes
    return [tuple(shard) for shard in shards]


def read_batches(
    what: Source | Shard,
    *,
    columns: Sequence[str],
    rows_per_batch: int = ROWS_PER_BATCH,
    dictionary: Sequence[str] = (),
    features: Sequence[Column] = (),
) -> Iterator[pa.RecordBatch]:
    """Record batches of `columns`, in the order of the rows; only these columns are read.

    Columns named in `dictionary` come dictionary-encoded. Partition columns come as text. All text
    is UTF-8, and a model can take every value of `features`.

    Raises:
        DataError: if a file cannot be read, changed meanwhile, or holds a value that breaks these
            promises; it names the file, and column and row where there is one.
    """
    names = list(dict.fromkeys([*columns, *(column.name for column in features)]))
    for shard in [what] if isinstance(what, Shard) else plan_shards(what):
        row = shard.first_row
        for batch in _read_shard(shard, names, rows_per_batch, dictionary, features):
            if found := find_problem(batch, features):
                raise DataError(f"{shard.file.path}: {_told(*found, shard, row)}")
            row += batch.num_rows
            yield batch


def _told(name: str, problem: Problem, shard: Shard, row: int) -> str:
    if problem.row is not None:
        return problem.told(name, first_row=row)
    # A dictionary comes before the rows that use it: one of those behind this batch.
    row = shard.first_row
    for batch in _read_shard(shard, [name], ROWS_PER_BATCH):
        found = not_utf8(batch.column(0))
        if found and found.row is not None:
            return found.told(name, first_row=row)
        row += batch.num_rows
    return problem.told(name)


def _read_shard(
    shard: Shard,
    columns: Sequence[str],
    rows_per_batch: int,
    dictionary: Sequence[str] = (),
    features: Sequence[Column] = (),
) -> Iterator[pa.RecordBatch]:
    file = shard.file
    partitions = dict(file.partitions)
    stored = [name for name in columns if name not in partitions]
    file.require_unchanged()
    coded = [name for name in dictionary if name in stored]
    missing = shard.rows
    with open_parquet(file.file, columns=len(stored), dictionary=coded) as parquet:
        batches = _decoded(parquet, shard, stored, rows_per_batch, coded, features)
        while True:
            try:
                batch = next(batches, None)
                if batch is not None:
                    batch = _with_partitions(batch, columns, partitions)
            except Parquet2VecError:
                raise
            except Exception as error:
                # Whatever is wrong with a file that changed, the change is why.
                file.require_unchanged()
                raise unreadable(file.path, error) from None
            if batch is None:
                break
            missing -= batch.num_rows
            yield batch
    file.require_unchanged()
    if missing:
        raise DataError(f"{file.path} cannot be read: its pages lack {missing} rows of its footer")


def _decoded(
    parquet: pq.ParquetFile,
    shard: Shard,
    stored: Sequence[str],
    rows_per_batch: int,
    coded: Sequence[str],
    features: Sequence[Column],
) -> Iterator[pa.RecordBatch]:
    """The batches of an opened file, of fewer rows where their text or lists would not fit."""
    file, groups = shard.file, shard.row_groups
    inside = [column for column in features if column.name in stored]
    if problem := surplus_elements(parquet, groups, inside):
        raise DataError(f"{file.path}: {problem}")
    plain = [name for name in stored if name not in coded]
    reopen = partial(open_parquet, file.file, columns=1)
    rows = min(rows_per_batch, affordable_rows(parquet, groups, plain, reopen))
    yield from _gathered(
        parquet.iter_batches(batch_size=rows, row_groups=groups, columns=stored, use_threads=False),
        rows=rows,
    )


def _gathered(batches: Iterable[pa.RecordBatch], *, rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of about `rows`, where row groups are small.

    No batch of Arrow's that holds a dictionary reaches into the next row group, and each costs as
    much as some hundred rows, wherever it goes.
    """
    waiting: list[pa.RecordBatch] = []
    count = size = 0
    for batch in batches:
        if waiting and count + batch.num_rows > rows:
            yield _together(waiting)
            waiting, count, size = [], 0, 0
        waiting.append(batch)
        count += batch.num_rows
        # Of every row group a dictionary is held as well, however few rows use it.
        if 2 * count >= rows or (size := size + batch.nbytes) >= BYTES_GATHERED:
            yield _together(waiting)
            waiting, count, size = [], 0, 0
    if waiting:
        yield _together(waiting)


def _together(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _constant(value: str | None, rows: int) -> pa.Array:
    if value is None:
        return pa.nulls(rows, pa.string())
    return pa.repeat(arrow.text(value), rows).cast(pa.string())


def _selectable(array: pa.Array) -> pa.Array:
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    # Arrow can neither filter nor take views.
    if pt.is_binary_view(array.type):
        return array.cast(pa.large_binary())
    return array.cast(pa.large_string()) if pt.is_string_view(array.type) else array


def _with_partitions(
    batch: pa.RecordBatch, columns: Sequence[str], partitions: dict[str, str | None]
) -> pa.RecordBatch:
    arrays = [
        _constant(partitions[name], batch.num_rows)
        if name in partitions
        else _selectable(batch.column(name))
        for name in columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))
