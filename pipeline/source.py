"""A Parquet dataset: its files, their contract check, its shards, and their record batches."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from pipeline.config import Role
from pipeline.errors import DataError, SchemaError
from pipeline.schema import FeatureSchema, differences

ROWS_PER_SHARD = 1_000_000
BYTES_PER_SHARD = 128 * 2**20
ROWS_PER_BATCH = 65_536
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_SHOWN = 20


class RowGroup(NamedTuple):
    """Rows and uncompressed bytes of one row group."""

    rows: int
    bytes: int


@dataclass(frozen=True)
class SourceFile:
    """One Parquet file as it was when the source was opened.

    `partitions` are the ``name=value`` folders above it; their values stay text.
    """

    path: str
    relative: str
    bytes: int
    mtime_ns: int
    row_groups: tuple[RowGroup, ...]
    partitions: tuple[tuple[str, str | None], ...]

    @property
    def rows(self) -> int:
        """Rows in the file."""
        return sum(group.rows for group in self.row_groups)

    @property
    def fingerprint(self) -> tuple[str, int, int]:
        """What changes when the file changes: relative path, size, time of change."""
        return (self.relative, self.bytes, self.mtime_ns)

    def require_unchanged(self) -> None:
        """Compare the file on disk with this record.

        Raises:
            DataError: if it was replaced or rewritten since.
        """
        try:
            found = Path(self.path).stat()
        except OSError as error:
            raise DataError(f"{self.path} vanished while it was read: {error.strerror}") from None
        if (found.st_size, found.st_mtime_ns) != (self.bytes, self.mtime_ns):
            raise DataError(
                f"{self.path} changed while it was read; run again when its writer is done"
            )


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


@dataclass(frozen=True)
class Source:
    """An opened dataset; nothing but footers has been read."""

    path: str
    files: tuple[SourceFile, ...]
    schemas: tuple[pa.Schema, ...]
    skipped: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Rows in all files."""
        return sum(file.rows for file in self.files)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the fingerprints of all files, as hexadecimal text."""
        listed = json.dumps([file.fingerprint for file in self.files])
        return hashlib.sha256(listed.encode()).hexdigest()

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        """Every column of any file, with the first type that is not null; partitions as text."""
        fields: dict[str, pa.Field] = {}
        for schema in self._different_schemas:
            for field in schema:
                if field.name not in fields or pt.is_null(fields[field.name].type):
                    fields[field.name] = field.remove_metadata()
        return pa.schema(fields.values())

    @property
    def _different_schemas(self) -> list[pa.Schema]:
        seen: dict[int, pa.Schema] = {}
        for schema in self.schemas:
            seen.setdefault(id(schema), schema)
        return list(seen.values())

    def check(
        self,
        schema: FeatureSchema,
        *,
        roles: Iterable[Role] = ("feature", "condition", "key", "event_time", "label"),
    ) -> None:
        """Compare every file with the contract, before anything is computed.

        Raises:
            SchemaError: with every problem of every file.
        """
        roles, found = tuple(roles), dict[str, list[str]]()
        checked: dict[int, list[str]] = {}
        for file, arrow_schema in zip(self.files, self.schemas, strict=True):
            if id(arrow_schema) not in checked:
                checked[id(arrow_schema)] = differences(schema, arrow_schema, roles=roles)
            for problem in checked[id(arrow_schema)]:
                found.setdefault(problem, []).append(file.relative)
        if found:
            listed = [f"{problem} [{_files(names)}]" for problem, names in found.items()]
            more = [f"… and {len(listed) - _SHOWN} more"] if len(listed) > _SHOWN else []
            raise SchemaError(f"{self.path}: " + "; ".join(listed[:_SHOWN] + more))


def _files(names: list[str]) -> str:
    more = f" and {len(names) - 3} more files" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def open_source(path: str | Path) -> Source:
    """The Parquet file or folder of Parquet files at `path`, sorted by relative path.

    Names that start with ``_`` or ``.`` are left out, as Hive and Spark do; other files that do
    not end in ``.parquet`` are left out and listed in `Source.skipped`.

    Raises:
        DataError: if there is no such path, no Parquet file in it, or a file cannot be read.
    """
    root = Path(path)
    if not root.exists():
        raise DataError(f"{root} does not exist; give a Parquet file or a folder of them")
    if root.is_file():
        found, skipped = [root], list[str]()
    else:
        found, skipped = _walk(root)
    if not found:
        others = f", found {_files(skipped)}" if skipped else ", found nothing"
        raise DataError(f"{root} must hold files that end in .parquet{others}")
    base = root.parent if root.is_file() else root
    opened = [_open_file(file, base) for file in found]
    known: dict[bytes, pa.Schema] = {}
    schemas = tuple(
        known.setdefault(schema.serialize().to_pybytes(), schema) for _, schema in opened
    )
    source = Source(str(root), tuple(file for file, _ in opened), schemas, tuple(skipped))
    _require_same_partitions(source)
    return source


def _walk(root: Path) -> tuple[list[Path], list[str]]:
    found: list[Path] = []
    skipped: list[str] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name[0] not in "_.")
        for name in sorted(names):
            file = Path(folder, name)
            if name[0] in "_.":
                continue
            if name.endswith(".parquet"):
                found.append(file)
            else:
                skipped.append(str(file.relative_to(root)))
    return sorted(found, key=lambda file: str(file.relative_to(root))), skipped


def _open_file(path: Path, base: Path) -> tuple[SourceFile, pa.Schema]:
    status = path.stat()
    relative = path.relative_to(base)
    with _open_parquet(str(path)) as parquet:
        try:
            metadata, schema = parquet.metadata, parquet.schema_arrow
            groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
            row_groups = tuple(RowGroup(g.num_rows, g.total_byte_size) for g in groups)
        except Exception as error:
            raise _unreadable(str(path), error) from None
    partitions = tuple(_partition(part) for part in relative.parts[:-1] if "=" in part)
    for name, _ in partitions:
        if name in schema.names:
            raise SchemaError(
                f"column '{name}' is a folder name and also a column of {path}; remove one"
            )
        schema = schema.append(pa.field(name, pa.string()))
    file = SourceFile(
        str(path), str(relative), status.st_size, status.st_mtime_ns, row_groups, partitions
    )
    return file, schema


def _partition(folder: str) -> tuple[str, str | None]:
    name, _, value = folder.partition("=")
    return unquote(name), None if value == _NULL_PARTITION else unquote(value)


def _require_same_partitions(source: Source) -> None:
    first = source.files[0]
    for file in source.files:
        if [name for name, _ in file.partitions] != [name for name, _ in first.partitions]:
            raise SchemaError(
                f"{source.path}: all files must lie under the same name=value folders, "
                f"found {first.relative} and {file.relative}"
            )


def _open_parquet(path: str, dictionary: Sequence[str] = ()) -> pq.ParquetFile:
    # No memory map: a file that shrinks while mapped kills the process. No pre-buffer: it would
    # hold whole column chunks, where a small buffer per column does. Checksums: without them a
    # flipped bit reads as a wrong number.
    try:
        return pq.ParquetFile(
            path,
            read_dictionary=list(dictionary) or None,
            memory_map=False,
            pre_buffer=False,
            buffer_size=1 << 16,
            page_checksum_verification=True,
        )
    except Exception as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str, error: Exception) -> DataError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return DataError(f"{path} cannot be read: it is truncated, damaged or not Parquet ({reason})")


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
    with _open_parquet(file.path, [name for name in dictionary if name in stored]) as parquet:
        batches = parquet.iter_batches(
            batch_size=rows_per_batch, row_groups=row_groups, columns=stored, use_threads=False
        )
        while True:
            try:
                batch = next(batches, None)
            except Exception as error:
                raise _unreadable(file.path, error) from None
            if batch is None:
                break
            yield _with_partitions(batch, columns, partitions)
    file.require_unchanged()


def _selectable(array: pa.Array) -> pa.Array:
    # Arrow can neither filter nor take string views.
    return array.cast(pa.large_string()) if pt.is_string_view(array.type) else array


def _with_partitions(
    batch: pa.RecordBatch, columns: Sequence[str], partitions: dict[str, str | None]
) -> pa.RecordBatch:
    arrays = [
        pa.repeat(pa.scalar(partitions[name], pa.string()), batch.num_rows)
        if name in partitions
        else _selectable(batch.column(name))
        for name in columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))
