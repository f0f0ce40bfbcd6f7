"""One shard to one part: a pure function, the same wherever it runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import onnxruntime
import pyarrow as pa

from pipeline import limits, storage
from pipeline.bundle import Bundle
from pipeline.config import EmbeddingJob, parse_bytes
from pipeline.encoder import Encoder, Scorer
from pipeline.errors import BundleError, DataError
from pipeline.parts import ROWS_PER_GROUP, PartWriter, part_batch
from pipeline.publishing import PartReport, Stage
from pipeline.schema import FeatureSchema
from pipeline.shards import Shard, read_batches

_SMALLEST_BATCH = 1_024


@dataclass(frozen=True)
class ShardPlan:
    """Everything `embed_shard` needs beside the shard; plain values, so that it travels."""

    job: EmbeddingJob
    model: str
    stage: str
    run_id: str
    schema: bytes
    rows_per_batch: int

    def part_name(self, shard: Shard) -> str:
        """The run stands in the name, so that parts of two runs are never read as one table."""
        return f"part-{shard.index:05d}-{self.run_id[:8]}.parquet"

    def work(self, shard: Shard) -> str:
        """Names what determines the bytes of a part: model, options, schema, input."""
        facts = [self.model, options_of(self.job), self.schema.hex(), onnxruntime.__version__]
        return digest([*facts, shard.file.fingerprint, shard.file.partitions, shard.row_groups])


def embed_shard(plan: ShardPlan, shard: Shard) -> PartReport:
    """Write the part of one shard into the stage: temporary name, sync, rename, sidecar.

    The bytes depend on nothing but the model, the options and the shard.
    """
    stage, name = Stage(Path(plan.stage)), plan.part_name(shard)
    temporary = stage.folder / f"{name}.tmp"
    schema = pa.ipc.read_schema(pa.py_buffer(plan.schema))
    writer = PartWriter(temporary, schema)
    try:
        for batch in _embedded(plan, shard, schema):
            writer.write(batch)
    except DataError as error:
        raise _located(error, shard) from None
    finally:
        writer.close()
    storage.sync_file(temporary)
    final = stage.folder / name
    temporary.rename(final)
    storage.sync_folder(stage.folder)
    return stage.record(
        PartReport(
            name=name,
            rows=writer.rows,
            bytes=final.stat().st_size,
            sha256=storage.sha256_of(final),
            work=plan.work(shard),
            source=shard.file.relative,
            row_groups=shard.row_groups,
        )
    )


def _embedded(plan: ShardPlan, shard: Shard, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    encoder, scorer = _models(plan.job.bundle, plan.model, plan.job.scores)
    contract = encoder.schema
    passed = [column.name for column in contract.with_role("key", "event_time")]
    names = [column.name for column in contract.features]
    batches = read_batches(
        shard,
        columns=list(dict.fromkeys([*passed, *names])),
        rows_per_batch=plan.rows_per_batch,
        dictionary=[c.name for c in contract.by_kind("category") if "string" in c.type],
    )
    for batch in batches:
        vectors = encoder.encode(batch)
        scores = scorer.score(batch) if scorer else None
        yield part_batch(schema, [batch.column(name) for name in passed], vectors, scores)


@lru_cache(maxsize=2)
def _models(bundle: str, fingerprint: str, scores: bool) -> tuple[Encoder, Scorer | None]:
    """The sessions of a bundle, once per process."""
    opened = Bundle.open(bundle)
    if opened.fingerprint != fingerprint:
        raise BundleError(f"{bundle} was replaced while the job ran; run again")
    return Encoder(opened), Scorer(opened) if scores else None


def _located(error: DataError, shard: Shard) -> DataError:
    path = shard.file.path
    return error if path in str(error) else DataError(f"{path}: {error}")


def rows_per_batch(job: EmbeddingJob, schema: FeatureSchema) -> int:
    """Rows that one thread may hold at a time, so that all threads keep to the memory bound.

    A value of a feature is counted four times 8 bytes: decoded, converted, in a block, in Arrow's
    reader.
    """
    memory = parse_bytes(job.memory) if job.memory else limits.DEFAULT_MEMORY
    threads = job.threads or limits.threads()
    width = sum(column.length or 1 for column in schema.features)
    affordable = memory // (2 * threads * width * 8 * 4)
    return max(_SMALLEST_BATCH, min(ROWS_PER_GROUP, affordable))


def options_of(job: EmbeddingJob) -> dict[str, object]:
    """The options that change bytes."""
    return job.model_dump(include={"vector", "dtype", "scores"})


def digest(facts: object) -> str:
    """SHA-256 of plain data, as hexadecimal text."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
