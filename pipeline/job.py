"""The embedding job: plan the shards, write one part for each, publish them as one version.

`embed_shard` is a pure function of its arguments; everything above it only maps it, on threads of
this machine or on tasks of another engine.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

import onnxruntime
import pyarrow as pa

from pipeline import budget
from pipeline.aliases import resolved
from pipeline.bundle import Bundle
from pipeline.config import Config, EmbeddingJob
from pipeline.days import within
from pipeline.destinations import open_destination
from pipeline.embedding import ShardPlan, digest, embed_shard, options_of, training_profile
from pipeline.errors import BundleError, ConfigError, PublishError, StoreError
from pipeline.events import about, tell
from pipeline.files import holds
from pipeline.finished import find_finished
from pipeline.keys import require_unique
from pipeline.lineage import who
from pipeline.manifest import FileRecord
from pipeline.parts import part_schema
from pipeline.past import past_of
from pipeline.profile import Counted, RunProfile, TrainingProfile, merged
from pipeline.profiling import shares_of_run
from pipeline.progress import Progress, Silent
from pipeline.publishing import (
    FORMAT,
    MARK,
    PUBLISHED,
    Destination,
    Made,
    PartReport,
    Pointer,
    Portion,
    VersionManifest,
)
from pipeline.retention import keep_last, whole
from pipeline.shards import Shard, plan_shards
from pipeline.source import Source, open_source

ShardFunction = Callable[[Shard], PartReport]
MapShards = Callable[[ShardFunction, Sequence[Shard]], Iterable[PartReport]]


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
    begun = _Beginning(flow_run=flow_run)
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
    shards = plan_shards(source)
    destination = open_destination(job.destination, create=True)
    run_id = _run_id(job, bundle, source)
    with about(run_id=run_id, destination=job.destination), destination.locked():
        try:
            tell("run started", source=source.path, model=bundle.fingerprint, rows=source.rows)
            work = (run_id, job, bundle, source, schema, shards)
            report = _run(*work, destination, progress, map_shards, begun)
            tell(
                "run finished",
                published=report.published,
                current=report.current,
                seconds=round(begun.seconds(), 3),
            )
        except StoreError as error:
            raise PublishError(f"{error}; what was published before is untouched") from None
        except OSError as error:
            raise PublishError(
                f"cannot write to {job.destination}: {error.strerror or error}; "
                "what was published before is untouched"
            ) from None
    seconds = begun.seconds()
    speed = report.computed_rows / seconds if seconds else 0.0
    return report.model_copy(update={"seconds": seconds, "rows_per_second": speed})


@dataclass(frozen=True)
class _Beginning:
    """When a run began, and for which flow run."""

    flow_run: str | None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    clock: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        """Since then."""
        return time.monotonic() - self.clock

    def made(self, **portions: Portion) -> Made:
        """How a version that is published now was made."""
        return Made(
            started=self.at.isoformat(timespec="milliseconds"),
            seconds=round(self.seconds(), 3),
            by=who(),
            flow_run=self.flow_run,
            **portions,
        )


def _run(
    run_id: str,
    job: EmbeddingJob,
    bundle: Bundle,
    source: Source,
    schema: pa.Schema,
    shards: list[Shard],
    destination: Destination,
    progress: Progress,
    map_shards: MapShards | None,
    begun: _Beginning,
) -> JobReport:
    report = JobReport(
        run_id=run_id,
        destination=job.destination,
        parts=len(shards),
        rows=source.rows,
        computed=0,
        computed_rows=0,
        reused=0,
        resumed=0,
        published=False,
        current=run_id,
        seconds=0.0,
        rows_per_second=0.0,
        skipped_files=source.skipped,
        ignored_columns=source.unlisted(bundle.manifest.feature_schema),
        files_without_checksums=source.without_checksums,
    )
    manifest = whole(destination, run_id)
    if manifest is None:
        stage = destination.stage(run_id)
        plan = ShardPlan(
            job=job,
            model=bundle.fingerprint,
            stage=stage,
            run_id=run_id,
            schema=schema.serialize().to_pybytes(),
            budget=budget.plan(job, bundle, source),
        )
        works = {plan.part_name(shard): plan.work(shard) for shard in shards}
        done, resumed = find_finished(
            works, stage, destination, prepared=_prepared(job), threads=plan.budget.workers
        )
        reused = [part for name, part in done.items() if name not in resumed]
        todo = [shard for shard, name in zip(shards, works, strict=True) if name not in done]
        new = [s for s in shards if (n := plan.part_name(s)) in resumed or n not in done]
        training = training_profile(bundle)
        if training is not None:
            plan = replace(plan, profiled=_profiled(new, bundle))
        mapper = map_shards or partial(on_threads, threads=plan.budget.workers)
        tell("run planned", compute=len(todo), resumed=len(resumed), reused=len(reused))
        rows = _compute(plan, todo, works, done, mapper, progress)
        if destination.has(run_id) and whole(destination, run_id) is None:
            # It is damaged: replaced only now that all of it is there again.
            destination.remove(run_id)
        parts = [done[name] for name in works]
        profile = _profile(training, parts, plan, rows=sum(shard.rows for shard in new))
        made = begun.made(
            computed=Portion(parts=len(todo), rows=rows),
            resumed=Portion.of(done[name] for name in resumed),
            reused=Portion.of(reused),
        )
        past = past_of(destination.published())
        manifest = _manifest(plan, source, parts, profile, made).model_copy(update={"past": past})
        destination.commit(stage, manifest, profile=profile)
        tell("version published", parts=len(parts), rows=manifest.rows, seconds=made.seconds)
        counts = {"computed": len(todo), "resumed": len(resumed), "reused": len(reused)}
        report = report.model_copy(update={**counts, "computed_rows": rows, "published": True})
    pointer = _point(destination, run_id)
    removed = _clean(destination, job)
    return report.model_copy(
        update={
            "current": pointer.run_id,
            "pinned": pointer.pinned,
            "removed": removed,
            "null_keys": sum(part.null_keys for part in manifest.files),
        }
    )


def _prepared(job: EmbeddingJob) -> Destination | None:
    """The destination that a backfill has filled, if it has."""
    if job.prepared is None or not holds(job.prepared, MARK):
        return None
    return open_destination(job.prepared)


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


def _compute(
    plan: ShardPlan,
    todo: Sequence[Shard],
    works: Mapping[str, str],
    done: dict[str, PartReport],
    mapper: MapShards,
    progress: Progress,
) -> int:
    """Make the parts of `todo` and add them to `done`; the rows that this took."""
    rows = sum(shard.rows for shard in todo)
    progress.start("rows", rows)
    for part in mapper(partial(embed_shard, plan), todo):
        # Workers may be other processes, with another bundle at the same path.
        if works.get(part.name) != part.work:
            raise PublishError(
                f"a worker must make {part.name} of this very model and input, found other work; "
                "see that all workers read the same bundle and source"
            )
        done[part.name] = part
        progress.advance(part.rows)
    progress.finish()
    if len(done) != len(works):
        raise PublishError(
            f"{len(works)} parts must be finished, found {len(done)}; run again, the finished ones "
            "are kept"
        )
    return rows


def on_threads(
    function: ShardFunction, shards: Sequence[Shard], *, threads: int
) -> Iterator[PartReport]:
    """The reports of `function` over `shards`, from `threads` worker threads, as they finish."""
    with ThreadPoolExecutor(max_workers=threads) as pool:
        futures = [pool.submit(function, shard) for shard in shards]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


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


def _profiled(new: Sequence[Shard], bundle: Bundle) -> dict[int, int]:
    """How many rows to count of which of the shards that are `new` in this run.

    What a killed run had finished counts as new, or a run that goes on would count other rows.
    """
    width = len(bundle.manifest.feature_schema.features) + bundle.manifest.dim
    shares = shares_of_run([shard.rows for shard in new], width=width)
    return {new[place].index: rows for place, rows in shares.items()}


def _profile(
    training: TrainingProfile | None, parts: Sequence[PartReport], plan: ShardPlan, *, rows: int
) -> bytes | None:
    """The file that counts some of the `rows` which this run computed; None if it counted none."""
    blocks = merged(part.profile for part in parts if part.profile is not None)
    if training is None or not blocks:
        return None
    run = Counted(rows=rows, blocks=blocks)
    return RunProfile(**dict(training), model=plan.model, run=run).to_bytes()


def _manifest(
    plan: ShardPlan,
    source: Source,
    parts: Sequence[PartReport],
    profile: bytes | None,
    made: Made,
) -> VersionManifest:
    sealed = None
    if profile is not None:
        sealed = FileRecord(bytes=len(profile), sha256=hashlib.sha256(profile).hexdigest())
    return VersionManifest(
        format=FORMAT,
        run_id=plan.run_id,
        model=plan.model,
        rows=sum(part.rows for part in parts),
        options=options_of(plan.job),
        source=source.path,
        inputs=tuple(file.fingerprint for file in source.files),
        files=tuple(part.model_copy(update={"profile": None}) for part in parts),
        versions={"onnxruntime": onnxruntime.__version__, "pyarrow": pa.__version__},
        published=datetime.now(UTC).isoformat(timespec="microseconds"),
        profile=sealed,
        made=made,
    )


def _run_id(job: EmbeddingJob, bundle: Bundle, source: Source) -> str:
    facts = [
        bundle.fingerprint,
        options_of(job),
        source.fingerprint,
        onnxruntime.__version__,
        FORMAT,
    ]
    return digest(facts)[:32]
