"""A run, and the making of its version: parts computed or taken over, then sealed as one.

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
from pipeline.bundle import Bundle
from pipeline.config import EmbeddingJob
from pipeline.destinations import open_destination
from pipeline.embedding import ShardPlan, embed_shard, options_of, training_profile
from pipeline.errors import PublishError
from pipeline.events import tell
from pipeline.files import holds
from pipeline.finished import find_finished
from pipeline.lineage import who
from pipeline.manifest import FileRecord
from pipeline.past import past_of
from pipeline.profile import Counted, RunProfile, TrainingProfile, merged
from pipeline.profiling import shares_of_run
from pipeline.progress import Progress
from pipeline.publishing import (
    FORMAT,
    MARK,
    Destination,
    Made,
    PartReport,
    Portion,
    Stage,
    VersionManifest,
)
from pipeline.retention import whole
from pipeline.shards import Shard
from pipeline.source import Source

ShardFunction = Callable[[Shard], PartReport]
MapShards = Callable[[ShardFunction, Sequence[Shard]], Iterable[PartReport]]


@dataclass(frozen=True)
class Run:
    """What a run is to do, known before anything is written.

    `schema` is that of the parts, `shards` are what they are made of, one each, in order.
    """

    run_id: str
    job: EmbeddingJob
    bundle: Bundle
    source: Source
    schema: pa.Schema
    shards: Sequence[Shard]

    def plan(self, stage: Stage) -> ShardPlan:
        """What a worker must know to make parts in `stage`."""
        return ShardPlan(
            job=self.job,
            model=self.bundle.fingerprint,
            stage=stage,
            run_id=self.run_id,
            schema=self.schema.serialize().to_pybytes(),
            budget=budget.plan(self.job, self.bundle, self.source),
        )


@dataclass(frozen=True)
class Beginning:
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


def make_version(
    run: Run,
    destination: Destination,
    begun: Beginning,
    *,
    progress: Progress,
    map_shards: MapShards | None,
) -> VersionManifest:
    """Make the version of `run` and publish it; the pointer stays where it is.

    Parts that a killed run or an earlier version has are taken over. `map_shards` says where the
    others are computed; threads of this machine by default.

    Raises:
        DataError, PublishError: if a part cannot be made; the finished ones stay for the next try.
    """
    stage = destination.stage(run.run_id)
    plan = run.plan(stage)
    works = {plan.part_name(shard): plan.work(shard) for shard in run.shards}
    done, resumed = find_finished(
        works, stage, destination, prepared=_prepared(run.job), threads=plan.budget.workers
    )
    reused = [part for name, part in done.items() if name not in resumed]
    todo = [shard for shard, name in zip(run.shards, works, strict=True) if name not in done]
    # What a killed run had finished is new, or a run that goes on would count other rows.
    new = [s for s in run.shards if (n := plan.part_name(s)) in resumed or n not in done]
    training = training_profile(run.bundle)
    if training is not None:
        plan = replace(plan, profiled=_profiled(new, run.bundle))
    mapper = map_shards or partial(on_threads, threads=plan.budget.workers)
    tell("run planned", compute=len(todo), resumed=len(resumed), reused=len(reused))
    rows = _compute(plan, todo, works, done, mapper, progress)
    if destination.has(run.run_id) and whole(destination, run.run_id) is None:
        # It is damaged: replaced only now that all of it is there again.
        destination.remove(run.run_id)
    parts = [done[name] for name in works]
    profile = _profile(training, parts, plan, rows=sum(shard.rows for shard in new))
    made = begun.made(
        computed=Portion(parts=len(todo), rows=rows),
        resumed=Portion.of(done[name] for name in resumed),
        reused=Portion.of(reused),
    )
    past = past_of(destination.published())
    manifest = _manifest(plan, run.source, parts, profile, made).model_copy(update={"past": past})
    destination.commit(stage, manifest, profile=profile)
    tell("version published", parts=len(parts), rows=manifest.rows, seconds=made.seconds)
    return manifest


def _prepared(job: EmbeddingJob) -> Destination | None:
    """The destination that a backfill has filled, if it has."""
    if job.prepared is None or not holds(job.prepared, MARK):
        return None
    return open_destination(job.prepared)


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


def _profiled(new: Sequence[Shard], bundle: Bundle) -> dict[int, int]:
    """How many rows to count of which of the shards that are `new` in this run, by index."""
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
