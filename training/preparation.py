"""Before training: what the columns mean, who learns from which rows, and the prepared matrix.

Each step leaves its result in the work folder and is not done again after a kill.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.feed import flat, to_timestamps
from pipeline.progress import Progress
from pipeline.prologue import Prologue
from pipeline.schema import FeatureSchema
from pipeline.schema_inference import infer
from pipeline.shards import read_batches
from pipeline.source import Source
from pipeline.storage import sync_files, sync_folder
from training.blocks import BlockSample
from training.checkpoint import PROFILED, parquet_bytes
from training.labels import LabelCoder
from training.matrix import TRAIN, VALIDATION, Matrix, MatrixWriter
from training.spec import TrainingJob
from training.split import Split
from training.tensors import replace

SAMPLE_ROWS = 10_000
HELD_OUT, HELD_OUT_ROWS = "held_out.parquet", 2_000
TEXTS = "texts.json"
ROWS_PER_BATCH = 16_384


def infer_schema(job: TrainingJob, source: Source) -> FeatureSchema:
    """The contract of the source's columns, with the roles that `job` gives them."""
    names = source.arrow_schema.names
    batches, rows = [], 0
    if names:
        for batch in read_batches(source, columns=names, rows_per_batch=SAMPLE_ROWS):
            batches.append(batch)
            rows += batch.num_rows
            if rows >= SAMPLE_ROWS:
                break
    sample = pa.Table.from_batches(batches) if batches else source.arrow_schema.empty_table()
    return infer(
        source.arrow_schema,
        sample,
        keys=job.key,
        labels=job.label,
        event_time=job.event_time,
        ignore=job.ignore,
        overrides=job.columns,
        images=job.images,
    )


def make_split(job: TrainingJob, schema: FeatureSchema, source: Source) -> Split:
    """By time with an event time that varies, else by key, else by position."""
    column = schema.event_time
    if column is not None:
        micros, first = np.empty(source.rows, np.int64), 0
        for batch in read_batches(source, columns=[column.name]):
            last = first + batch.num_rows
            micros[first:last] = to_timestamps(flat(batch, column.name), column)
            first = last
        by_time = Split.by_time(column.name, micros, seed=job.seed)
        if by_time is not None:
            return by_time
    keys = tuple(key.name for key in schema.keys)
    return Split("key", keys, (), job.seed) if keys else Split("position", (), (), job.seed)


def fit_prologue(
    work: Path,
    job: TrainingJob,
    schema: FeatureSchema,
    source: Source,
    split: Split,
    progress: Progress,
) -> Prologue:
    """The prologue fitted on the training rows, in one pass."""
    path = work / "prologue.json"
    if path.exists():
        return Prologue.from_json(json.loads(path.read_bytes()))

    def training_rows() -> Iterator[pa.RecordBatch]:
        for batch, parts, _ in _rows(job, schema, source, split):
            progress.advance(batch.num_rows)
            yield batch.filter(pa.array(parts == TRAIN))

    progress.start("statistics", min(source.rows, job.training.max_rows))
    prologue = Prologue.fit(training_rows(), schema)
    progress.finish()
    replace(path, json.dumps(prologue.to_json()).encode())
    return prologue


def write_matrix(
    work: Path,
    job: TrainingJob,
    schema: FeatureSchema,
    source: Source,
    split: Split,
    prologue: Prologue,
    progress: Progress,
) -> Matrix:
    """The prepared rows on disk; written again from the start when a kill left them unfinished.

    The file `TEXTS` beside them tells the number of each text of a label, by label.
    """
    folder, done = work / "matrix", work / "matrix.done"
    if done.exists():
        return Matrix.open(folder)
    coder = LabelCoder(tuple(column.name for column in schema.labels))
    features = [column.name for column in schema.features]
    kept: list[pa.RecordBatch] = []
    lacking = HELD_OUT_ROWS
    profiled = BlockSample(schema, split, rows=source.rows)
    progress.start("prepare", min(source.rows, job.training.max_rows))
    with MatrixWriter(
        folder,
        numbers=len(prologue.numeric_slots),
        ranks=len(prologue.ranked_slots),
        categories=len(prologue.code_columns),
        labels=len(coder.names),
    ) as writer:
        for batch, parts, held in _rows(job, schema, source, split):
            labels, first = coder.code(batch), 0
            for run in prologue.runs(batch):
                part = slice(first, first := first + len(run.numeric))
                writer.append(run, split=parts[part], labels=labels[part])
            if lacking > 0:
                some = batch.select(features).filter(pa.array(held & (parts == VALIDATION)))
                kept.append(some)
                lacking -= some.num_rows
            profiled.add(batch.select(features), parts)
            progress.advance(batch.num_rows)
    progress.finish()
    held_out = pa.Table.from_batches(kept).slice(0, HELD_OUT_ROWS)
    # The mark must not outlive a power failure that its rows did not.
    sync_files(folder.iterdir())
    sync_folder(folder)
    replace(work / TEXTS, json.dumps(coder.seen).encode())
    replace(work / HELD_OUT, parquet_bytes(held_out))
    replace(work / PROFILED, parquet_bytes(profiled.table()))
    replace(done, b"")
    return Matrix.open(folder)


def _rows(
    job: TrainingJob, schema: FeatureSchema, source: Source, split: Split
) -> Iterator[tuple[pa.RecordBatch, Any, Any]]:
    """The rows to be used with their parts, and which of them may be held out for the gate."""
    names = list(dict.fromkeys([*split.columns, *(column.name for column in schema.labels)]))
    share = job.training.max_rows / source.rows
    held_share = min(1.0, 2 * HELD_OUT_ROWS / (0.1 * min(source.rows, job.training.max_rows)))
    first_row = 0
    batches = read_batches(
        source, columns=names, rows_per_batch=ROWS_PER_BATCH, features=schema.features
    )
    for batch in batches:
        parts = split.assign(batch, first_row)
        held = split.picks(batch, first_row, share=share * held_share)
        picked = split.picks(batch, first_row, share=share)
        first_row += batch.num_rows
        if share < 1:
            mask = pa.array(picked)
            batch, parts, held = batch.filter(mask), parts[picked], held[picked]
        yield batch, parts, held
