"""Shards of a source, and the record batches of a source or a shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.types as pt

from pipeline import arrow
from pipeline.parquet import open_parquet, unreadable
from pipeline.source import RowGroup, Source, SourceFile

ROWS_PER_SHARD = 1_000_000
BYTES_PER_SHARD = 128 * 2**20
ROWS_PER_BATCH = 65_536


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
) -> Iterator[pa.RecordBatch]:
    """Record batches of `columns`, in the order of the rows; only these columns are read.

    Columns named in `dictionary` come dictionary-encoded. Partition columns come as text.

    Raises:
        DataError: if a file cannot be read or changed meanwhile; it names the file.
    """
    if isinstance(what, Shard):
        yield from _read_file(what.file, what.row_groups, columns, rows_per_batch, dictionary)
        return
    for file in what.files:
        groups = tuple(range(len(file.row_groups)))
        yield from _read_file(file, groups, columns, rows_per_batch, dictionary)


def _read_file(
    file: SourceFile,
    row_groups: tuple[int, ...],
    columns: Sequence[str],
    rows_per_batch: int,
    dictionary: Sequence[str],
) -> Iterator[pa.RecordBatch]:
    partitions = dict(file.partitions)
    stored = [name for name in columns if name not in partitions]
    file.require_unchanged()
    with open_parquet(
        file.path, dictionary=[name for name in dictionary if name in stored]
    ) as parquet:
        batches = parquet.iter_batches(
            batch_size=rows_per_batch, row_groups=row_groups, columns=stored, use_threads=False
        )
        while True:
            try:
                batch = next(batches, None)
            except Exception as error:
                raise unreadable(file.path, error) from None
            if batch is None:
                break
            yield _with_partitions(batch, columns, partitions)
    file.require_unchanged()


def _constant(value: str | None, rows: int) -> pa.Array:
    if value is None:
        return pa.nulls(rows, pa.string())
    return pa.repeat(arrow.text(value), rows).cast(pa.string())


def _selectable(array: pa.Array) -> pa.Array:
    # Arrow can neither filter nor take string views.
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
