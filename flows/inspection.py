"""What a path holds: a source, a bundle or a destination, described in a screenful."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.aliases import resolved
from pipeline.bundle import MANIFEST, Bundle, FileRecord
from pipeline.config import Config
from pipeline.destinations import open_destination
from pipeline.errors import ConfigError
from pipeline.files import holds
from pipeline.publishing import MARK, Destination, Made
from pipeline.schema_inference import infer
from pipeline.shards import read_batches
from pipeline.source import Source, open_source

SAMPLED_ROWS = 65_536


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
    images: dict[str, str] = Field(description="Shape of every image, by its name.")
    keys: tuple[str, ...]
    event_time: str | None
    labels: tuple[str, ...]
    learnt_from: dict[str, int] = Field(
        description="Labels that the encoder learnt from, and its training rows that had them."
    )
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
    made: Made | None = Field(description="By whom, in how many seconds, and what of it was new.")


class DestinationFacts(Config):
    """A folder of published vectors, newest version first."""

    what: Literal["destination"] = "destination"
    path: str
    current: str | None
    pinned: bool
    source: str | None
    versions: tuple[VersionFacts, ...]
    damaged: tuple[str, ...] = Field(description="Versions whose manifest cannot be read.")
    page: str | None = Field(default=None, description="The page of its history, where asked for.")


Facts = SourceFacts | BundleFacts | DestinationFacts


def inspect(path: str) -> Facts:
    """What `path` is: a bundle, a destination, or else a source.

    Raises:
        BundleError, DestinationError, DataError: if it is damaged, or nothing of the three.
    """
    place = resolved(path)
    if holds(place, MANIFEST):
        return _bundle(path, Bundle.open(place))
    if holds(path, MARK):
        return _destination(open_destination(path))
    return _source(open_source(path))


def write_page(facts: Facts, path: Path) -> Facts:
    """Write the page of a destination's history to the file `path`; the facts with that path.

    Raises:
        ConfigError: if it is no destination, or `path` lies inside it.
        PublishError: if the page cannot be written.
    """
    if isinstance(facts, BundleFacts):
        report = f"its report is {facts.report}" if facts.report else "evaluate writes its report"
        raise ConfigError(f"--html needs a destination, found the bundle {facts.path}; {report}")
    if isinstance(facts, SourceFacts):
        raise ConfigError(f"--html needs a destination, found the source {facts.path}; embed it")
    from flows.history import read
    from flows.history_page import write_history

    write_history(path, read(open_destination(facts.path)))
    return facts.model_copy(update={"page": str(path)})


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


def _bundle(path: str, bundle: Bundle) -> BundleFacts:
    manifest, schema = bundle.manifest, bundle.manifest.feature_schema
    kinds = [str(column.kind) for column in schema.features]
    report = bundle.path / "report" / "report.html"
    return BundleFacts(
        path=path,
        fingerprint=bundle.fingerprint,
        recipe=manifest.recipe,
        dim=manifest.dim,
        features={kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        images={name: str(shape) for name, shape in schema.shapes.items()},
        keys=tuple(column.name for column in schema.keys),
        event_time=schema.event_time.name if schema.event_time else None,
        labels=tuple(column.name for column in schema.labels),
        learnt_from=manifest.training_data.get("labels", {}),
        training_rows=manifest.training_data.get("rows"),
        parity=manifest.parity,
        versions=manifest.versions,
        files=manifest.files,
        report=str(report) if report.exists() else None,
    )


def _destination(destination: Destination) -> DestinationFacts:
    manifests = destination.published()[::-1]
    pointer = destination.pointer
    current = pointer.run_id if pointer else None
    intact = {manifest.run_id for manifest in manifests}
    return DestinationFacts(
        path=destination.path,
        current=current,
        pinned=pointer is not None and pointer.pinned,
        damaged=tuple(run_id for run_id in destination.run_ids() if run_id not in intact),
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
                made=manifest.made,
            )
            for manifest in manifests
        ),
    )
