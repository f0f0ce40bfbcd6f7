"""From a table to a checkpoint: schema, split, prologue, matrix on disk, candidates, choice.

Everything is kept in a hidden folder beside the bundle to be written, so that a killed run goes on
where it was and gives what an undisturbed one gives.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pipeline.errors import DataError, PublishError
from pipeline.feed import NULL_INT, flat, to_timestamps
from pipeline.progress import Progress, Silent
from pipeline.prologue import Prologue
from pipeline.schema import FeatureSchema, infer
from pipeline.shards import read_batches
from pipeline.source import Source, open_source
from pipeline.storage import lock
from training.autoencoder import Autoencoder
from training.candidates import make, training_moments
from training.checkpoint import RECORD, Checkpoint
from training.labels import LabelCoder
from training.layout import Layout
from training.matrix import TRAIN, VALIDATION, Matrix, MatrixWriter
from training.recipes import AUTO, CANDIDATES, concrete
from training.selection import select
from training.spec import EncoderSpec, TrainingConfig, TrainingJob, default_dim
from training.split import Split
from training.tensors import replace

FORMAT = 1
SAMPLE_ROWS = 10_000
HELD_OUT_ROWS = 2_000
LEAST_ROWS = 10
ROWS_PER_BATCH = 16_384


def work_folder(out: str | Path) -> Path:
    """Where a run that writes the bundle `out` keeps its state; removed by whoever exported it."""
    path = Path(out)
    return path.with_name(f".{path.name}.work")


def fit(job: TrainingJob, *, progress: Progress | None = None) -> Checkpoint:
    """Train what `job` asks for, or continue the run of the same job that was killed.

    Raises:
        ConfigError: if there is no such recipe.
        SchemaError: if a named column is missing, a feature column holds only nulls, or there is
            no usable feature.
        DataError: if the source is missing, empty, too small, or cannot be read.
        PublishError: if the folder of `job.out` cannot be written.
        LockedError: if another process trains for the same `job.out`.
    """
    concrete(CANDIDATES[0] if job.recipe == AUTO else job.recipe, dim=1)
    progress = progress or Silent()
    source = open_source(job.source)
    if source.rows < LEAST_ROWS:
        raise DataError(f"{source.path} must hold {LEAST_ROWS} rows or more, found {source.rows}")
    schema = infer_schema(job, source)
    source.check(schema)
    work = work_folder(job.out)
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PublishError(f"cannot write {work.parent}: {error.strerror}") from None
    with lock(work / "lock"):
        _claim(work, job, source)
        if not (work / "result" / RECORD).exists():
            _train(work, job, schema, source, progress)
        return Checkpoint.load(work / "result")


def _train(
    work: Path, job: TrainingJob, schema: FeatureSchema, source: Source, progress: Progress
) -> None:
    """Leave the checkpoint of `job` in the folder ``result``."""
    split = make_split(job, schema, source)
    prologue = _prologue(work, job, schema, source, split, progress)
    matrix = _matrix(work, job, schema, source, split, prologue, progress)
    with _threads(job.training.threads):
        spec, module, history, selection = learn(
            job.recipe,
            matrix,
            Layout.of(prologue),
            dim=job.dim,
            config=job.training,
            seed=job.seed,
            label=schema.labels[0].name if schema.labels else None,
            text=_is_text(schema),
            folder=work,
            progress=progress,
        )
    checkpoint = Checkpoint(
        spec=spec,
        schema=schema,
        prologue=prologue,
        module=module,
        split=split,
        held_out=pq.read_table(work / "held_out.parquet"),
        history=history,
        selection=selection,
        training_data={"fingerprint": source.fingerprint, "rows": len(matrix.where(TRAIN))},
        seed=job.seed,
    )
    checkpoint.save(work / "result")


def learn(
    recipe: str,
    matrix: Matrix,
    layout: Layout,
    *,
    dim: int | None = None,
    config: TrainingConfig,
    seed: int = 0,
    label: str | None = None,
    text: bool = False,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> tuple[EncoderSpec, Autoencoder, dict[str, Any], dict[str, Any]]:
    """Train `recipe` on a matrix: the spec, the model, the history and the selection.

    With ``auto`` all of `CANDIDATES` are trained and the best is kept; its training needs no
    source, so that an estimator can use it on rows in memory.
    """
    width = dim or default_dim(layout.width)
    names = CANDIDATES if recipe == AUTO else (recipe,)
    moments = training_moments(matrix, layout)
    models, history = {}, {}
    for name in names:
        models[name], history[name] = make(
            concrete(name, dim=width),
            matrix=matrix,
            layout=layout,
            moments=moments,
            config=config,
            seed=seed,
            state_path=None if folder is None else folder / f"{name}.safetensors",
            progress=progress,
        )
    if len(models) == 1:
        selection: dict[str, Any] = {"winner": recipe}
    else:
        selection = select(models, matrix, label=label, text=text)
    winner = models[selection["winner"]]
    return winner.spec, winner, history, selection


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
    )


def make_split(job: TrainingJob, schema: FeatureSchema, source: Source) -> Split:
    """By time with an event time that varies, else by key, else by position."""
    column = schema.event_time
    if column is not None:
        micros = [
            to_timestamps(flat(batch, column.name), column)
            for batch in read_batches(source, columns=[column.name])
        ]
        by_time = Split.by_time(
            column.name,
            np.concatenate(micros) if micros else np.array([NULL_INT]),
            seed=job.seed,
        )
        if by_time is not None:
            return by_time
    keys = tuple(key.name for key in schema.keys)
    return Split("key", keys, (), job.seed) if keys else Split("position", (), (), job.seed)


def _claim(work: Path, job: TrainingJob, source: Source) -> None:
    """Empty the folder when it holds the state of another job or source."""
    asked = json.dumps([FORMAT, source.fingerprint, job.model_dump(mode="json")])
    fingerprint = hashlib.sha256(asked.encode()).hexdigest().encode()
    mark = work / "job"
    if not mark.exists() or mark.read_bytes() != fingerprint:
        for path in work.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "lock":
                path.unlink()
        replace(mark, fingerprint)


def _rows(
    job: TrainingJob, schema: FeatureSchema, source: Source, split: Split
) -> Iterator[tuple[pa.RecordBatch, Any, Any]]:
    """The rows to be used with their parts, and which of them may be held out for the gate."""
    names = [column.name for column in schema.features]
    names += [
        name for name in (*split.columns, *(c.name for c in schema.labels)) if name not in names
    ]
    share = job.training.max_rows / source.rows
    held_share = min(1.0, 2 * HELD_OUT_ROWS / (0.1 * min(source.rows, job.training.max_rows)))
    first_row = 0
    for batch in read_batches(source, columns=names, rows_per_batch=ROWS_PER_BATCH):
        parts = split.assign(batch, first_row)
        held = split.picks(batch, first_row, share=share * held_share)
        picked = split.picks(batch, first_row, share=share)
        first_row += batch.num_rows
        if share < 1:
            mask = pa.array(picked)
            batch, parts, held = batch.filter(mask), parts[picked], held[picked]
        yield batch, parts, held


def _prologue(
    work: Path,
    job: TrainingJob,
    schema: FeatureSchema,
    source: Source,
    split: Split,
    progress: Progress,
) -> Prologue:
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


def _matrix(
    work: Path,
    job: TrainingJob,
    schema: FeatureSchema,
    source: Source,
    split: Split,
    prologue: Prologue,
    progress: Progress,
) -> Matrix:
    """The prepared rows on disk; written again from the start when a kill left them unfinished."""
    folder, done = work / "matrix", work / "matrix.done"
    if done.exists():
        return Matrix.open(folder)
    coder = LabelCoder(tuple(column.name for column in schema.labels))
    features = [column.name for column in schema.features]
    kept: list[pa.RecordBatch] = []
    progress.start("prepare", min(source.rows, job.training.max_rows))
    with MatrixWriter(
        folder,
        numbers=len(prologue.numeric_slots),
        ranks=len(prologue.ranked_slots),
        categories=len(prologue.code_columns),
        labels=len(coder.names),
    ) as writer:
        for batch, parts, held in _rows(job, schema, source, split):
            writer.append(prologue.run(batch), split=parts, labels=coder.code(batch))
            kept.append(batch.select(features).filter(pa.array(held & (parts == VALIDATION))))
            progress.advance(batch.num_rows)
    progress.finish()
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_batches(kept).slice(0, HELD_OUT_ROWS), buffer)
    replace(work / "held_out.parquet", buffer.getvalue().to_pybytes())
    replace(done, b"")
    return Matrix.open(folder)


def _is_text(schema: FeatureSchema) -> bool:
    return bool(schema.labels) and "string" in schema.labels[0].type


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
