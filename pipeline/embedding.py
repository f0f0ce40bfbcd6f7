"""One shard to one part: a pure function, the same wherever it runs."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import onnxruntime
import pyarrow as pa

from pipeline import storage
from pipeline.budget import SCORER, Budget, loaded
from pipeline.bundle import Bundle
from pipeline.config import EmbeddingJob
from pipeline.encoder import Encoder, Scorer
from pipeline.errors import BundleError, DataError
from pipeline.events import about, tell
from pipeline.parquet import unreadable
from pipeline.parts import PartWriter, part_batch
from pipeline.profile import TRAINING_PROFILE, Gauge, TrainingProfile, read_training
from pipeline.profiling import ErrorSample, Sample, places_of, scored_of_shard
from pipeline.publishing import PartReport, Stage
from pipeline.shards import Shard, read_batches


@dataclass(frozen=True)
class ShardPlan:
    """Everything `embed_shard` needs beside the shard; plain values, so that it travels."""

    job: EmbeddingJob
    model: str
    stage: Stage
    run_id: str
    schema: bytes
    budget: Budget
    profiled: Mapping[int, int] = field(default_factory=dict)
    """Rows to count for the run's profile, by the index of their shard."""

    def part_name(self, shard: Shard) -> str:
        """The run stands in the name, so that parts of two runs are never read as one table."""
        return f"part-{shard.index:05d}-{self.run_id[:8]}.parquet"

    def work(self, shard: Shard) -> str:
        """Names what determines the bytes of a part: model, options, schema, input."""
        facts = [self.model, options_of(self.job), self.schema.hex(), onnxruntime.__version__]
        return digest([*facts, shard.file.fingerprint, shard.file.partitions, shard.row_groups])


def embed_shard(plan: ShardPlan, shard: Shard) -> PartReport:
    """Write the part of one shard into the stage: temporary name, rename, sidecar with its hash.

    The bytes depend on nothing but the model, the options and the shard. However many threads a
    process calls this from, no more than the budget's workers run at a time.
    """
    # Said here: a worker's thread, or its machine, knows nothing of the run.
    with (
        _slots(plan.budget.workers),
        about(run_id=plan.run_id, destination=plan.job.destination),
    ):
        started = time.monotonic()
        report = _embed_shard(plan, shard)
        tell(
            "part finished",
            part=report.name,
            file=shard.file.path,
            rows=report.rows,
            bytes=report.bytes,
            seconds=round(time.monotonic() - started, 3),
        )
        return report


@lru_cache(maxsize=1)
def _slots(workers: int) -> threading.Semaphore:
    return threading.Semaphore(workers)


def _embed_shard(plan: ShardPlan, shard: Shard) -> PartReport:
    name = plan.part_name(shard)
    scratch = plan.stage.scratch(name)
    try:
        return plan.stage.finish(scratch, _write(plan, shard, name, scratch))
    finally:
        # The stage has taken it, or nobody will.
        scratch.unlink(missing_ok=True)


def _write(plan: ShardPlan, shard: Shard, name: str, scratch: Path) -> PartReport:
    schema = pa.ipc.read_schema(pa.py_buffer(plan.schema))
    writer, null_keys = PartWriter(scratch, schema), 0
    try:
        models = _loaded(plan.job, plan.model)
        sample = Sample(places_of(shard.rows, plan.profiled.get(shard.index, 0)))
        keys = [column.name for column in models.encoder.schema.keys]
        for batch in _embedded(plan, shard, schema, models, sample):
            writer.write(batch)
            null_keys += sum(batch.column(key).null_count for key in keys)
    except DataError as error:
        raise _located(error, shard) from None
    except (pa.ArrowException, UnicodeError, MemoryError) as error:
        raise unreadable(shard.file.path, error) from None
    finally:
        writer.close()
    return PartReport(
        name=name,
        rows=writer.rows,
        bytes=scratch.stat().st_size,
        sha256=storage.sha256_of(scratch),
        work=plan.work(shard),
        source=shard.file.relative,
        row_groups=shard.row_groups,
        null_keys=null_keys,
        profile=sample.block(models.gauges, source=shard.file.relative) if sample.rows else None,
    )


def _embedded(
    plan: ShardPlan, shard: Shard, schema: pa.Schema, models: _Models, sample: Sample
) -> Iterator[pa.RecordBatch]:
    encoder, scorer = models.encoder, models.scorer
    contract = encoder.schema
    errors = None if plan.job.scores else _error_sample(plan, shard, models)
    passed = [column.name for column in contract.with_role("key", "event_time")]
    batches = read_batches(
        shard,
        columns=passed,
        rows_per_batch=plan.budget.rows_per_batch,
        dictionary=[c.name for c in contract.by_kind("category") if "string" in c.type],
        features=contract.features,
    )
    row = shard.first_row
    for batch in batches:
        inputs = encoder.inputs(batch)
        vectors = encoder.encode_inputs(inputs)
        scores = scorer.score(batch) if scorer and plan.job.scores else None
        sample.add(inputs, vectors, scores)
        if errors:
            errors.add(batch)
        through = [batch.column(name) for name in passed]
        yield part_batch(schema, through, vectors, scores, first_row=row)
        row += batch.num_rows
    if errors:
        sample.errors = [errors.errors()]


def _error_sample(plan: ShardPlan, shard: Shard, models: _Models) -> ErrorSample | None:
    """What scores some of the rows that are counted; None if none are, or there is no scorer."""
    counted = plan.profiled.get(shard.index, 0)
    if models.scorer is None or not counted:
        return None
    width = sum(column.length or 1 for column in models.encoder.schema.features)
    scored = scored_of_shard(counted, shards=len(plan.profiled), width=width)
    return ErrorSample(places_of(shard.rows, scored), models.scorer)


@dataclass(frozen=True)
class _Models:
    """The sessions of a bundle; the gauges that its training was counted with, if it was."""

    encoder: Encoder
    scorer: Scorer | None
    gauges: tuple[Gauge, ...]


_loading = threading.Lock()


def _loaded(job: EmbeddingJob, fingerprint: str) -> _Models:
    # All threads ask for their first shard at once.
    with _loading:
        return _models(job.bundle, fingerprint, job.scores)


@lru_cache(maxsize=2)
def _models(bundle: str, fingerprint: str, scores: bool) -> _Models:
    """The models of a bundle, once per process."""
    opened = Bundle.open(bundle)
    if opened.fingerprint != fingerprint:
        raise BundleError(f"{bundle} was replaced while the job ran; run again")
    profile = training_profile(opened)
    gauges = profile.gauges if profile else ()
    wanted = scores or any(gauge.kind == "reconstruction error" for gauge in gauges)
    scorer = Scorer(opened) if wanted and SCORER in loaded(opened, scores=scores) else None
    return _Models(Encoder(opened), scorer, gauges)


def training_profile(bundle: Bundle) -> TrainingProfile | None:
    """What `bundle` knows of the rows it was made from; the first bundles had none."""
    if not bundle.has(TRAINING_PROFILE):
        return None
    return _parsed(bundle.read(TRAINING_PROFILE), str(bundle.path / TRAINING_PROFILE))


@lru_cache(maxsize=2)
def _parsed(content: bytes, path: str) -> TrainingProfile:
    return read_training(content, path=path)


def _located(error: DataError, shard: Shard) -> DataError:
    path = shard.file.path
    return error if path in str(error) else DataError(f"{path}: {error}")


def options_of(job: EmbeddingJob) -> dict[str, object]:
    """The options that change bytes."""
    return job.model_dump(include={"vector", "dtype", "scores"})


def digest(facts: object) -> str:
    """SHA-256 of plain data, as hexadecimal text."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
