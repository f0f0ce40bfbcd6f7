"""What a path holds: a source, a bundle or a destination, described in a screenful."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from flows.console import two_columns
from pipeline.bundle import MANIFEST, Bundle, FileRecord
from pipeline.config import Config
from pipeline.publishing import Destination
from pipeline.schema import infer
from pipeline.shards import read_batches
from pipeline.source import Source, open_source

SAMPLED_ROWS = 65_536
_COLUMNS_SHOWN = 40
_VERSIONS_SHOWN = 10


class ColumnFacts(Config):
    """A column as training would take it; `nulls` is their share among the sampled rows."""

    name: str
    type: str
    kind: str | None
    role: str
    nulls: float | None


class SourceFacts(Config):
    """A Parquet source."""

    what: Literal["source"] = "source"
    path: str
    rows: int
    files: int
    bytes: int
    sampled_rows: int = Field(description="Rows that null shares are of: the first ones.")
    columns: tuple[ColumnFacts, ...]
    skipped: tuple[str, ...]


class BundleFacts(Config):
    """A trained model."""

    what: Literal["bundle"] = "bundle"
    path: str
    fingerprint: str
    recipe: str
    dim: int
    features: dict[str, int] = Field(description="Number of feature columns by kind.")
    keys: tuple[str, ...]
    event_time: str | None
    labels: tuple[str, ...]
    training_rows: int | None
    parity: dict[str, object]
    versions: dict[str, str]
    files: dict[str, FileRecord]
    report: str | None


class VersionFacts(Config):
    """A published version."""

    run_id: str
    current: bool
    published: str
    rows: int
    parts: int
    bytes: int
    model: str


class DestinationFacts(Config):
    """A folder of published vectors, newest version first."""

    what: Literal["destination"] = "destination"
    path: str
    current: str | None
    source: str | None
    versions: tuple[VersionFacts, ...]


Facts = SourceFacts | BundleFacts | DestinationFacts


def inspect(path: str) -> Facts:
    """What `path` is: a bundle, a destination, or else a source.

    Raises:
        BundleError, DestinationError, DataError: if it is damaged, or nothing of the three.
    """
    if (Path(path) / MANIFEST).exists():
        return _bundle(Bundle.open(path))
    if (Path(path) / "_parquet2vec.json").exists():
        return _destination(Destination.open(path))
    return _source(open_source(path))


def _source(source: Source) -> SourceFacts:
    sample = next(
        read_batches(source, columns=source.arrow_schema.names, rows_per_batch=SAMPLED_ROWS), None
    )
    rows = sample.num_rows if sample is not None else 0
    schema = infer(source.arrow_schema, source.arrow_schema.empty_table() if not rows else sample)
    columns = tuple(
        ColumnFacts(
            name=column.name,
            type=column.type,
            kind=column.kind,
            role=column.role,
            nulls=sample.column(column.name).null_count / rows if sample and rows else None,
        )
        for column in schema.columns
    )
    return SourceFacts(
        path=source.path,
        rows=source.rows,
        files=len(source.files),
        bytes=sum(file.bytes for file in source.files),
        sampled_rows=rows,
        columns=columns,
        skipped=source.skipped,
    )


def _bundle(bundle: Bundle) -> BundleFacts:
    manifest, schema = bundle.manifest, bundle.manifest.feature_schema
    kinds = [str(column.kind) for column in schema.features]
    report = bundle.path / "report" / "report.html"
    return BundleFacts(
        path=str(bundle.path),
        fingerprint=bundle.fingerprint,
        recipe=manifest.recipe,
        dim=manifest.dim,
        features={kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        keys=tuple(column.name for column in schema.keys),
        event_time=schema.event_time.name if schema.event_time else None,
        labels=tuple(column.name for column in schema.labels),
        training_rows=manifest.training_data.get("rows"),
        parity=manifest.parity,
        versions=manifest.versions,
        files=manifest.files,
        report=str(report) if report.exists() else None,
    )


def _destination(destination: Destination) -> DestinationFacts:
    manifests = destination.published()[::-1]
    current = destination.current
    return DestinationFacts(
        path=str(destination.root),
        current=current,
        source=manifests[0].source if manifests else None,
        versions=tuple(
            VersionFacts(
                run_id=manifest.run_id,
                current=manifest.run_id == current,
                published=manifest.published,
                rows=manifest.rows,
                parts=len(manifest.files),
                bytes=sum(part.bytes for part in manifest.files),
                model=manifest.model,
            )
            for manifest in manifests
        ),
    )


def text(facts: Facts) -> str:
    """The facts as lines for people."""
    if isinstance(facts, SourceFacts):
        return _source_text(facts)
    if isinstance(facts, BundleFacts):
        return _bundle_text(facts)
    return _destination_text(facts)


def _source_text(facts: SourceFacts) -> str:
    size = f"{facts.rows:,} rows in {facts.files:,} files, {_megabytes(facts.bytes)}"
    lines = [("source", facts.path), ("holds", size)]
    if facts.skipped:
        lines.append(("skipped", f"{len(facts.skipped):,} files that are not Parquet"))
    table = [
        (c.name, c.kind or "-", c.role, "" if c.nulls is None else f"{100 * c.nulls:.1f} %", c.type)
        for c in facts.columns[:_COLUMNS_SHOWN]
    ]
    heads = ("column", "kind", "role", "nulls", "type")
    more = len(facts.columns) - _COLUMNS_SHOWN
    return "\n".join(
        [
            two_columns(lines),
            "",
            aligned([heads, *table]),
            *([f"… and {more:,} more columns"] if more > 0 else []),
            f"nulls: of the first {facts.sampled_rows:,} rows; kind, role: as train takes them",
        ]
    )


def _bundle_text(facts: BundleFacts) -> str:
    features = ", ".join(f"{count} {kind}" for kind, count in facts.features.items())
    parity = ", ".join(f"{name} {value}" for name, value in facts.parity.items() if _short(value))
    lines = [
        ("bundle", facts.path),
        ("model", f"{facts.recipe}, {facts.dim} numbers a row, {facts.fingerprint[:12]}"),
        ("reads", features),
        ("passes", ", ".join([*facts.keys, *filter(None, [facts.event_time])]) or "nothing"),
        ("label", ", ".join(facts.labels) or "none"),
        ("trained", f"on {facts.training_rows or 0:,} rows"),
        ("parity", parity),
        ("made with", ", ".join(f"{name} {found}" for name, found in facts.versions.items())),
        ("report", facts.report or "none"),
    ]
    files = [(name, f"{file.bytes:,}", file.sha256[:12]) for name, file in facts.files.items()]
    return f"{two_columns(lines)}\n\n{aligned([('file', 'bytes', 'sha256'), *files])}"


def _destination_text(facts: DestinationFacts) -> str:
    current = f"{facts.path}/current, version {facts.current}" if facts.current else "none yet"
    lines = [("destination", facts.path), ("current", current), ("source", facts.source or "none")]
    heads = ("", "version", "rows", "parts", "size", "model", "published")
    versions = [
        (
            "*" if version.current else "",
            version.run_id[:12],
            f"{version.rows:,}",
            f"{version.parts:,}",
            _megabytes(version.bytes),
            version.model[:12],
            version.published[:19],
        )
        for version in facts.versions[:_VERSIONS_SHOWN]
    ]
    return f"{two_columns(lines)}\n\n{aligned([heads, *versions])}"


def aligned(rows: list[tuple[str, ...]]) -> str:
    """Rows of cells as lines, every column as wide as its widest cell.

    >>> print(aligned([("a", "bb"), ("ccc", "d")]))
    a    bb
    ccc  d
    """
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = ("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _short(value: object) -> bool:
    return isinstance(value, int | float | str)
