"""A Parquet dataset: its files and the check of each against the contract."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.types as pt

from pipeline.config import Role
from pipeline.errors import DataError, Parquet2VecError, SchemaError
from pipeline.files import File, find, look, some
from pipeline.parquet import read_footer
from pipeline.schema import FeatureSchema, differences

_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_SHOWN = 20
_FOOTERS = 8


class RowGroup(NamedTuple):
    """Rows and uncompressed bytes of one row group."""

    rows: int
    bytes: int


@dataclass(frozen=True)
class SourceFile:
    """One Parquet file as it was when the source was opened.

    `partitions` are the ``name=value`` folders above it; their values stay text. `checksums` tells
    whether its pages carry any, so that a flipped bit is found.
    """

    file: File
    row_groups: tuple[RowGroup, ...]
    columns: int
    checksums: bool
    partitions: tuple[tuple[str, str | None], ...]

    @property
    def rows(self) -> int:
        """Rows in the file."""
        return sum(group.rows for group in self.row_groups)

    @property
    def path(self) -> str:
        """Path or URL."""
        return self.file.path

    @property
    def relative(self) -> str:
        """Path below the table's folder."""
        return self.file.relative

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return self.file.bytes

    @property
    def fingerprint(self) -> tuple[str, int, int | str]:
        """What changes when the file changes: relative path, size, time of change or entity tag."""
        return self.file.fingerprint

    def require_unchanged(self) -> None:
        """Compare the file with this record.

        Raises:
            DataError: if it was replaced or rewritten since.
            StoreError: if the store does not answer.
        """
        self.file.require_unchanged()


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

    @property
    def without_checksums(self) -> int:
        """Number of files in which a flipped bit may read as a wrong value."""
        return sum(not file.checksums for file in self.files)

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

    def unlisted(self, schema: FeatureSchema) -> tuple[str, ...]:
        """Columns of any file that `schema` does not name; nothing reads them."""
        listed = {column.name for column in schema.columns}
        return tuple(name for name in self.arrow_schema.names if name not in listed)

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
                hints = 5 if len(found) < _SHOWN else 0
                checked[id(arrow_schema)] = differences(
                    schema, arrow_schema, roles=roles, hints=hints
                )
            for problem in checked[id(arrow_schema)]:
                found.setdefault(problem, []).append(file.relative)
        if found:
            listed = [f"{problem} [{some(names)}]" for problem, names in found.items()]
            more = [f"… and {len(listed) - _SHOWN} more"] if len(listed) > _SHOWN else []
            raise SchemaError(f"{self.path}: " + "; ".join(listed[:_SHOWN] + more))


def open_source(path: str | Path) -> Source:
    """The Parquet file or folder of Parquet files at `path`, sorted by relative path.

    Names that start with ``_`` or ``.`` are left out, as Hive and Spark do; other files that do
    not end in ``.parquet`` are left out and listed in `Source.skipped`. Linked folders are read.

    Raises:
        DataError: if there is no such path, no Parquet file in it, or files cannot be read.
        StoreError: if the store does not answer.
        SchemaError: if names of columns or partitions are not unique. Both name every such file.
    """
    listing = find(path)
    # Equal schemas are kept once: those of ten thousand files would be hundreds of megabytes.
    known: dict[bytes, pa.Schema] = {}
    try_to_open = partial(_try_to_open, root=Path(listing.path), known=known)
    # Footers are small reads that wait for a disk; Arrow parses them without the lock.
    with ThreadPoolExecutor(max_workers=_FOOTERS) as pool:
        attempts = list(pool.map(try_to_open, listing.found))
    _require_opened([attempt for attempt in attempts if isinstance(attempt, Parquet2VecError)])
    opened = [attempt for attempt in attempts if not isinstance(attempt, Parquet2VecError)]
    files, schemas = zip(*opened, strict=True)
    source = Source(listing.path, files, schemas, tuple(listing.skipped))
    _require_same_partitions(source)
    _require_no_links(source)
    return source


def _try_to_open(
    found: Path | File, *, root: Path, known: dict[bytes, pa.Schema]
) -> tuple[SourceFile, pa.Schema] | Parquet2VecError:
    try:
        file, schema = _open_file(look(found, root))
        return file, known.setdefault(schema.serialize().to_pybytes(), schema)
    except Parquet2VecError as error:
        return error


def _require_opened(errors: Sequence[Parquet2VecError]) -> None:
    if not errors:
        return
    more = [f"… and {len(errors) - _SHOWN} more files"] if len(errors) > _SHOWN else []
    said = "; ".join([*map(str, errors[:_SHOWN]), *more])
    raise type(errors[0])(said)


def _open_file(file: File) -> tuple[SourceFile, pa.Schema]:
    metadata, schema, checksums = read_footer(file)
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    rows = [group.num_rows for group in groups]
    if min(rows, default=0) < 0 or sum(rows) != metadata.num_rows:
        raise DataError(
            f"{file.path} cannot be read: its footer miscounts its rows; write it again"
        )
    folders = file.relative.split("/")[:-1]
    partitions = tuple(_partition(folder, file.path) for folder in folders if "=" in folder)
    _require_unique(file.path, schema.names, [name for name, _ in partitions])
    opened = SourceFile(
        file=file,
        row_groups=tuple(RowGroup(group.num_rows, group.total_byte_size) for group in groups),
        columns=metadata.num_columns,
        checksums=checksums,
        partitions=partitions,
    )
    return opened, pa.schema([*schema, *(pa.field(name, pa.string()) for name, _ in partitions)])


def _partition(folder: str, path: str) -> tuple[str, str | None]:
    name, _, value = folder.partition("=")
    try:
        name, value = unquote(name, errors="strict"), unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise DataError(f"{path} lies under '{folder}', which is not UTF-8; rename it") from None
    return name, None if value == _NULL_PARTITION else value


def _require_unique(path: str, columns: Sequence[str], partitions: Sequence[str]) -> None:
    for name in partitions:
        if name in columns:
            raise SchemaError(
                f"column '{name}' is a folder name and also a column of {path}; remove one"
            )
    for what, names in (("column", columns), ("partition", partitions)):
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            listed = ", ".join(map(repr, twice[:_SHOWN]))
            raise SchemaError(f"{what} {listed} stands more than once in {path}; rename one")


def _require_no_links(source: Source) -> None:
    """Refuse two names of one file on disk, whose rows would be read twice."""
    names: dict[tuple[int, int, int], str] = {}
    for one in source.files:
        seen = (one.file.inode, one.file.mtime_ns, one.file.bytes)
        known = names.setdefault(seen, one.path)
        if known != one.path and not one.file.etag and Path(known).samefile(one.path):
            raise DataError(
                f"{one.path} and {known} are one file, which would be read twice; remove a link"
            )


def _require_same_partitions(source: Source) -> None:
    first = source.files[0]
    for file in source.files:
        if [name for name, _ in file.partitions] != [name for name, _ in first.partitions]:
            raise SchemaError(
                f"{source.path}: all files must lie under the same name=value folders, "
                f"found {first.relative} and {file.relative}"
            )
