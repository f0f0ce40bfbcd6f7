"""A Parquet dataset: its files and the check of each against the contract."""

from __future__ import annotations

import hashlib
import json
import os
import stat
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

    path: str
    relative: str
    bytes: int
    mtime_ns: int
    inode: int
    row_groups: tuple[RowGroup, ...]
    columns: int
    checksums: bool
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
        recorded = (self.bytes, self.mtime_ns, self.inode)
        if (found.st_size, found.st_mtime_ns, found.st_ino) != recorded:
            raise DataError(
                f"{self.path} changed while it was read; run again when its writer is done"
            )


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
                checked[id(arrow_schema)] = differences(schema, arrow_schema, roles=roles)
            for problem in checked[id(arrow_schema)]:
                found.setdefault(problem, []).append(file.relative)
        if found:
            listed = [f"{problem} [{_files(names)}]" for problem, names in found.items()]
            more = [f"… and {len(listed) - _SHOWN} more"] if len(listed) > _SHOWN else []
            raise SchemaError(f"{self.path}: " + "; ".join(listed[:_SHOWN] + more))


def _files(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more files" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def open_source(path: str | Path) -> Source:
    """The Parquet file or folder of Parquet files at `path`, sorted by relative path.

    Names that start with ``_`` or ``.`` are left out, as Hive and Spark do; other files that do
    not end in ``.parquet`` are left out and listed in `Source.skipped`. Linked folders are read.

    Raises:
        DataError: if there is no such path, no Parquet file in it, or files cannot be read.
        SchemaError: if names of columns or partitions are not unique. Both name every such file.
    """
    root = Path(path)
    if not root.exists():
        raise DataError(f"{root} does not exist; give a Parquet file or a folder of them")
    if root.is_dir():
        base, (found, skipped) = root, _walk(root)
    else:
        base, found, skipped = root.parent, [root], list[str]()
    if not found:
        others = f", found {_files(skipped)}" if skipped else ", found nothing"
        raise DataError(f"{root} must hold files that end in .parquet{others}")
    # Footers are small reads that wait for a disk; Arrow parses them without the lock.
    with ThreadPoolExecutor(max_workers=_FOOTERS) as pool:
        attempts = list(pool.map(partial(_try_to_open, base=base), found))
    _require_opened([attempt for attempt in attempts if isinstance(attempt, Parquet2VecError)])
    opened = [attempt for attempt in attempts if not isinstance(attempt, Parquet2VecError)]
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
    seen: dict[tuple[int, int], str] = {}
    for folder, folders, names in os.walk(root, onerror=_refuse_folder, followlinks=True):
        _require_new(folder, seen)
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


def _refuse_folder(error: OSError) -> None:
    # Left alone, a folder that cannot be listed would be a folder without rows.
    raise DataError(f"{error.filename} cannot be listed: {error.strerror}") from None


def _require_new(folder: str, seen: dict[tuple[int, int], str]) -> None:
    status = Path(folder).stat()
    known = seen.setdefault((status.st_dev, status.st_ino), folder)
    if known != folder:
        raise DataError(
            f"{folder} leads to {known}, whose rows would be read twice; remove the link"
        )


def _try_to_open(path: Path, *, base: Path) -> tuple[SourceFile, pa.Schema] | Parquet2VecError:
    try:
        return _open_file(path, base)
    except Parquet2VecError as error:
        return error


def _require_opened(errors: Sequence[Parquet2VecError]) -> None:
    if not errors:
        return
    more = [f"… and {len(errors) - _SHOWN} more files"] if len(errors) > _SHOWN else []
    said = "; ".join([*map(str, errors[:_SHOWN]), *more])
    raise type(errors[0])(said)


def _open_file(path: Path, base: Path) -> tuple[SourceFile, pa.Schema]:
    status = _status(path)
    relative = path.relative_to(base)
    metadata, schema, checksums = read_footer(str(path))
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    rows = [group.num_rows for group in groups]
    if min(rows, default=0) < 0 or sum(rows) != metadata.num_rows:
        raise DataError(f"{path} cannot be read: its footer miscounts its rows; write it again")
    partitions = tuple(_partition(part, path) for part in relative.parts[:-1] if "=" in part)
    _require_unique(path, schema.names, [name for name, _ in partitions])
    file = SourceFile(
        path=str(path),
        relative=str(relative),
        bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        inode=status.st_ino,
        row_groups=tuple(RowGroup(group.num_rows, group.total_byte_size) for group in groups),
        columns=metadata.num_columns,
        checksums=checksums,
        partitions=partitions,
    )
    return file, pa.schema([*schema, *(pa.field(name, pa.string()) for name, _ in partitions)])


def _status(path: Path) -> os.stat_result:
    """What the disk says of a file, before anything opens it: a pipe would block for ever."""
    try:
        str(path).encode()
        status = path.stat()
    except UnicodeEncodeError:
        raise DataError(f"{path} must have a name in UTF-8; rename it") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path} must be a file, found a folder, pipe or device; remove it")
    return status


def _partition(folder: str, path: Path) -> tuple[str, str | None]:
    name, _, value = folder.partition("=")
    try:
        name, value = unquote(name, errors="strict"), unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise DataError(f"{path} lies under '{folder}', which is not UTF-8; rename it") from None
    return name, None if value == _NULL_PARTITION else value


def _require_unique(path: Path, columns: Sequence[str], partitions: Sequence[str]) -> None:
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


def _require_same_partitions(source: Source) -> None:
    first = source.files[0]
    for file in source.files:
        if [name for name, _ in file.partitions] != [name for name, _ in first.partitions]:
            raise SchemaError(
                f"{source.path}: all files must lie under the same name=value folders, "
                f"found {first.relative} and {file.relative}"
            )
