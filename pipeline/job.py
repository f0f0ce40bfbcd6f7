"""The embedding job: check the inputs, make a version of the vectors, let readers see it."""

from __future__ import annotations

import onnxruntime
import pyarrow as pa

from pipeline import budget
from pipeline.aliases import resolved
from pipeline.bundle import Bundle
from pipeline.config import Config, EmbeddingJob
from pipeline.days import within
from pipeline.destinations import open_destination
from pipeline.embedding import digest, options_of
from pipeline.errors import BundleError, ConfigError, PublishError, StoreError
from pipeline.events import about, tell
from pipeline.keys import require_unique
from pipeline.lineage import who
from pipeline.parts import part_schema
from pipeline.progress import Progress, Silent
from pipeline.publishing import (
    FORMAT,
    PUBLISHED,
    Destination,
    Made,
    Pointer,
    Portion,
    VersionManifest,
)
from pipeline.retention import keep_last, whole
from pipeline.shards import plan_shards
from pipeline.source import Source, open_source
from pipeline.version_making import Beginning, MapShards, Run, make_version


class JobReport(Config):
    """What an embedding job did.

    `computed`, `reused` and `resumed` count parts: made now, taken over from the previous version,
    found finished from a killed run; `computed_rows` and `rows_per_second` count the rows of the
    first. `published` is False when this very work was there already.

    `null_keys` counts the key cells that are null, `ignored_columns` are those that the model does
    not know, and in `files_without_checksums` a flipped bit may read as a wrong number.
    """

    run_id: str
    destination: str
    parts: int
    rows: int
    computed: int
    computed_rows: int
    reused: int
    resumed: int
    published: bool
    current: str
    pinned: bool = False
    removed: tuple[str, ...] = ()
    seconds: float
    rows_per_second: float
    null_keys: int = 0
    skipped_files: tuple[str, ...] = ()
    ignored_columns: tuple[str, ...] = ()
    files_without_checksums: int = 0


def embed(
    job: EmbeddingJob,
    *,
    progress: Progress | None = None,
    map_shards: MapShards | None = None,
    flow_run: str | None = None,
) -> JobReport:
    """Embed a Parquet table and publish the vectors as a new version.

    The same work has the same run id: a rerun computes nothing, and a run that was killed goes on
    with its finished parts. `map_shards` says where the shards run; threads of this machine by
    default. The version's manifest notes `flow_run`, the id of the flow run that asks.

    Raises:
        BundleError, SchemaError, DataError: if an input is refused; nothing is published.
        DestinationError, LockedError, PublishError: if the destination cannot take the result.
    """
    begun = Beginning(flow_run=flow_run)
    progress = progress or Silent()
    # An alias may move while the job runs, and every worker must open the same bundle.
    job = job.model_copy(update={"bundle": resolved(job.bundle)})
    bundle = Bundle.open(job.bundle)
    if job.scores and not bundle.has("scorer.onnx"):
        raise BundleError(f"{job.bundle} has no scorer.onnx; embed without scores")
    source = open_source(job.source)
    source.check(
        bundle.manifest.feature_schema, roles=("feature", "condition", "key", "event_time")
    )
    source = within(source, job.first_day, job.last_day, schema=bundle.manifest.feature_schema)
    schema = _output_schema(job, bundle, source)
    if job.unique_keys:
        _require_unique_keys(job, bundle, source, schema)
    run_id = _run_id(job, bundle, source)
    run = Run(run_id, job, bundle, source, schema, plan_shards(source))
    destination = open_destination(job.destination, create=True)
    with about(run_id=run_id, destination=job.destination), destination.locked():
        try:
            tell("run started", source=source.path, model=bundle.fingerprint, rows=source.rows)
            manifest, made = whole(destination, run_id), None
            if manifest is None:
                manifest = make_version(
                    run, destination, begun, progress=progress, map_shards=map_shards
                )
                made = manifest.made
            pointer = _point(destination, run_id)
            removed = _clean(destination, job)
            report = _report(run, manifest, made, pointer, removed, seconds=begun.seconds())
            tell(
                "run finished",
                published=report.published,
                current=report.current,
                seconds=round(report.seconds, 3),
            )
        except StoreError as error:
            raise PublishError(f"{error}; what was published before is untouched") from None
        except OSError as error:
            raise PublishError(
                f"cannot write to {job.destination}: {error.strerror or error}; "
                "what was published before is untouched"
            ) from None
    return report


def _report(
    run: Run,
    manifest: VersionManifest,
    made: Made | None,
    pointer: Pointer,
    removed: tuple[str, ...],
    *,
    seconds: float,
) -> JobReport:
    """What is told of a run; nothing was `made` if the version was there already."""
    nothing = Portion(parts=0, rows=0)
    computed = made.computed if made else nothing
    return JobReport(
        run_id=run.run_id,
        destination=run.job.destination,
        parts=len(manifest.files),
        rows=manifest.rows,
        computed=computed.parts,
        computed_rows=computed.rows,
        reused=(made.reused if made else nothing).parts,
        resumed=(made.resumed if made else nothing).parts,
        published=made is not None,
        current=pointer.run_id,
        pinned=pointer.pinned,
        removed=removed,
        seconds=seconds,
        rows_per_second=computed.rows / seconds if seconds else 0.0,
        null_keys=sum(part.null_keys for part in manifest.files),
        skipped_files=run.source.skipped,
        ignored_columns=run.source.unlisted(run.bundle.manifest.feature_schema),
        files_without_checksums=run.source.without_checksums,
    )


def _point(destination: Destination, run_id: str) -> Pointer:
    """Where the pointer leads: to the new version, unless a rollback has pinned it."""
    pointer = destination.pointer
    if pointer is None or not pointer.pinned:
        pointer = Pointer(run_id=run_id, by=who(), why=PUBLISHED)
        destination.point(pointer)
    return pointer


def _clean(destination: Destination, job: EmbeddingJob) -> tuple[str, ...]:
    try:
        destination.sweep()
        return tuple(keep_last(destination, job.keep, grace=job.grace))
    except OSError as error:
        raise PublishError(
            f"the vectors are published in {job.destination}, but what is old could not be "
            f"deleted: {error.strerror or error}; `parquet2vec gc` tries again"
        ) from None


def _output_schema(job: EmbeddingJob, bundle: Bundle, source: Source) -> pa.Schema:
    contract = bundle.manifest.feature_schema
    passed = [source.arrow_schema.field(c.name) for c in contract.with_role("key", "event_time")]
    schema = part_schema(job, passed, dim=bundle.manifest.dim, model=bundle.fingerprint)
    twice = {name for name in schema.names if schema.names.count(name) > 1}
    if twice:
        raise ConfigError(f"output column {', '.join(sorted(twice))} is also a key; rename the key")
    return schema


def _require_unique_keys(
    job: EmbeddingJob, bundle: Bundle, source: Source, schema: pa.Schema
) -> None:
    """A key names a row together with the event time, where there is one."""
    contract = bundle.manifest.feature_schema
    if not contract.keys:
        raise ConfigError(f"unique_keys needs a key, {job.bundle} has none; train with --key")
    names = [column.name for column in contract.with_role("key", "event_time")]
    require_unique(source, schema, names, memory=budget.allowed(job))


def _run_id(job: EmbeddingJob, bundle: Bundle, source: Source) -> str:
    facts = [
        bundle.fingerprint,
        options_of(job),
        source.fingerprint,
        onnxruntime.__version__,
        FORMAT,
    ]
    return digest(facts)[:32]
