"""How many workers, and how many rows at a time, keep a process within its memory bound."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline import limits
from pipeline.bundle import Bundle
from pipeline.config import EmbeddingJob, parse_bytes
from pipeline.errors import ConfigError
from pipeline.parquet import read_ahead
from pipeline.parts import ROWS_PER_GROUP
from pipeline.schema import Column, FeatureSchema
from pipeline.source import Source

# A worker stays with few workers rather than with batches below this: reading costs CPU per batch
# and column.
WORTHWHILE_ROWS = 4_096
SMALLEST_ROWS = 256
LARGEST_BATCH = 128 * 2**20
# A vector column is one large piece of memory, fresh for every batch: pages of it cost more than
# what fewer batches save.
LARGEST_VECTORS = 16 * 2**20
# Writers end a page, and a dictionary, at about a mebibyte; a reader holds both for every column.
PAGE = 2 * 2**20
# Decoded, converted, the batch before still in use, and what the allocator cannot use again.
COPIES = 4
# Code and buffers that importing and the first run add to what is resident when a job is planned.
RUNTIME = 110 * 2**20
# Few rows are scored for the profile: not worth a decoder of more than this.
LARGEST_SCORER = 16 * 2**20
SCORER = "scorer.onnx"
_NUMBER, _KEY = 8, 16


@dataclass(frozen=True)
class Budget:
    """Workers of one process and rows that each of them reads at a time."""

    workers: int
    rows_per_batch: int


def plan(job: EmbeddingJob, bundle: Bundle, source: Source) -> Budget:
    """The budget of `job` on this machine.

    Raises:
        ConfigError: if the bound is too small for one worker.
    """
    memory, schema = allowed(job), bundle.manifest.feature_schema
    models = sum(bundle.manifest.files[name].bytes for name in loaded(bundle, scores=job.scores))
    fixed = limits.resident() + RUNTIME + 3 * models
    held = _pages(source) + _waiting(bundle)
    row = row_bytes(schema)
    vectors = max(1, 4 * sum(column.length or 0 for column in schema.features))
    fitting = min(ROWS_PER_GROUP, LARGEST_BATCH // row, LARGEST_VECTORS // vectors)
    largest = max(SMALLEST_ROWS, fitting)
    for workers in range(job.threads or limits.threads(), 0, -1):
        rows = min(largest, ((memory - fixed) // workers - held) // (COPIES * row))
        if rows >= min(WORTHWHILE_ROWS, largest) or (workers == 1 and rows >= SMALLEST_ROWS):
            return Budget(workers, int(rows))
    needed = fixed + held + COPIES * row * SMALLEST_ROWS
    if job.memory:
        raise ConfigError(
            f"memory must be {-(-needed // 10**6)}MB or more for this table and model, "
            f"found {job.memory}"
        )
    return Budget(1, SMALLEST_ROWS)


def allowed(job: EmbeddingJob) -> int:
    """Bytes that `job` may hold: what it says, or what this machine can spare."""
    return parse_bytes(job.memory) if job.memory else limits.default_memory()


def loaded(bundle: Bundle, *, scores: bool) -> tuple[str, ...]:
    """The models of `bundle` that a worker holds; a large scorer only where `scores` are wanted."""
    scorer = bundle.manifest.files.get(SCORER)
    held = scorer is not None and (scores or scorer.bytes <= LARGEST_SCORER)
    found = ("core.onnx", "lookup.onnx", *([SCORER] if held else []))
    return tuple(name for name in found if bundle.has(name))


def row_bytes(schema: FeatureSchema) -> int:
    """Bytes of one row in memory: its features, and what passes through."""
    passed = len(schema.with_role("key", "event_time"))
    return _KEY * passed + sum(_feature_bytes(column) for column in schema.features)


def _feature_bytes(column: Column) -> int:
    return 4 * column.length if column.length else _NUMBER


def _pages(source: Source) -> int:
    """Bytes a reader holds beside its batch: a page of every column, or all of a small group.

    And half as much again for what is being decompressed.
    """
    pages = [
        min(group.bytes, file.columns * PAGE) for file in source.files for group in file.row_groups
    ]
    ahead = max(read_ahead(file.file, file.columns) for file in source.files)
    return 3 * max(pages, default=0) // 2 + ahead


def _waiting(bundle: Bundle) -> int:
    """Bytes of output that wait for a full row group, and of the group being written."""
    return 5 * ROWS_PER_GROUP * (4 * bundle.manifest.dim + _KEY)
