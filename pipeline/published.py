"""A published table as other systems need it described: its columns, and the times of its rows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pipeline.destinations import open_destination
from pipeline.errors import DataError, DestinationError
from pipeline.files import File
from pipeline.parquet import open_parquet
from pipeline.publishing import Destination, PartReport, VersionManifest
from pipeline.resolution import current


@dataclass(frozen=True)
class PublishedTable:
    """The version that readers of a destination on disk see.

    `passed` are the columns before the vector, in their order, with their Arrow types in words.
    """

    destination: Destination
    manifest: VersionManifest
    passed: dict[str, str]
    dim: int

    @property
    def wide(self) -> bool:
        """Whether a vector is a column for each of its numbers, ``embedding_0`` and so on."""
        return bool(self.manifest.options["vector"] == "wide")

    @property
    def scores(self) -> bool:
        """Whether there is a column ``reconstruction_error``."""
        return bool(self.manifest.options["scores"])

    @property
    def null_keys(self) -> int:
        """Cells of key columns that are null."""
        return sum(part.null_keys for part in self.manifest.files)


class Times(NamedTuple):
    """The first and the last time of some rows, in UTC, and how many rows have none."""

    first: datetime | None
    last: datetime | None
    nulls: int


def published_table(path: str | Path) -> PublishedTable:
    """What the current version of the destination at `path`, a folder, holds.

    Raises:
        DestinationError: if nothing is published.
        DataError: if a part cannot be read.
    """
    destination = open_destination(path)
    manifest = destination.manifest(current(destination))
    if not manifest.files:
        raise DestinationError(f"{destination.path} must have a part, found none; embed a table")
    with open_parquet(_file(destination, manifest, manifest.files[0]), columns=1) as opened:
        schema = opened.schema_arrow
    # A part says in the schema's metadata what made it.
    facts = json.loads(schema.metadata[b"parquet2vec"])
    wide = manifest.options["vector"] == "wide"
    before = schema.names.index("embedding_0" if wide else "embedding")
    passed = {field.name: str(field.type) for field in list(schema)[:before]}
    return PublishedTable(destination, manifest, passed, facts["dim"])


def times(table: PublishedTable, column: str, parts: Iterable[PartReport]) -> Times:
    """The times in the column `column` of `parts` of a table, from their footers.

    Raises:
        DataError: if a part cannot be read, or does not say what is asked.
    """
    found, nulls = list[datetime](), 0
    for part in parts:
        file = _file(table.destination, table.manifest, part)
        with open_parquet(file, columns=1) as opened:
            metadata = opened.metadata
            at = opened.schema_arrow.names.index(column)
        for group in range(metadata.num_row_groups):
            facts = metadata.row_group(group).column(at).statistics
            if facts is None or not facts.has_null_count:
                raise DataError(f"{file.path} must have statistics of '{column}', found none")
            nulls += facts.null_count
            if facts.has_min_max:
                found += [_utc(facts.min), _utc(facts.max)]
    return Times(min(found, default=None), max(found, default=None), nulls)


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _file(destination: Destination, manifest: VersionManifest, part: PartReport) -> File:
    path = destination.part(manifest.run_id, part.name)
    return File(path=path, relative=part.name, bytes=part.bytes)
