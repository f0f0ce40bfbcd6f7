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

import pyarrow.parquet as pq
import torch

from pipeline.errors import ConfigError, DataError, PublishError
from pipeline.progress import Progress, Silent
from pipeline.schema import FeatureSchema
from pipeline.source import Source, open_source
from pipeline.storage import lock
from training.autoencoder import Autoencoder
from training.candidates import make, training_moments
from training.checkpoint import PROFILED, RECORD, Checkpoint
from training.conditions import NEEDED, classes_of
from training.layout import Layout
from training.matrix import TRAIN, Matrix
from training.preparation import (
    HELD_OUT,
    TEXTS,
    fit_prologue,
    infer_schema,
    make_split,
    write_matrix,
)
from training.priors import prior_of
from training.recipes import (
    AUTO,
    aware,
    check_labels,
    check_recipe,
    concrete,
)
from training.selection import select
from training.shortlist import shortlist
from training.spec import (
    EncoderSpec,
    Head,
    NetworkConfig,
    TrainingConfig,
    TrainingJob,
    default_dim,
)
from training.targets import heads_of, learnt_from
from training.tensors import replace
from training.trunks import require_images

FORMAT = 2
LEAST_ROWS = 10


def work_folder(out: str | Path) -> Path:
    """Where a run that writes the bundle `out` keeps its state; removed by whoever exported it."""
    path = Path(out)
    return path.with_name(f".{path.name}.work")


def fit(job: TrainingJob, *, progress: Progress | None = None) -> Checkpoint:
    """Train what `job` asks for, or continue the run of the same job that was killed.

    Raises:
        ConfigError: if there is no such recipe, or it cannot take a choice of the network.
        SchemaError: if a named column is missing, a feature column holds only nulls, or there is
            no usable feature.
        DataError: if the source is missing, empty, too small, or cannot be read.
        PublishError: if the folder of `job.out` cannot be written.
        LockedError: if another process trains for the same `job.out`.
    """
    check_recipe(job.recipe, job.network)
    check_labels(job)
    progress = progress or Silent()
    source = open_source(job.source)
    if source.rows < LEAST_ROWS:
        raise DataError(f"{source.path} must hold {LEAST_ROWS} rows or more, found {source.rows}")
    schema = infer_schema(job, source)
    source.check(schema)
    tells_label(job, schema)
    if job.recipe != AUTO:
        spec = concrete(job.recipe, dim=1, network=job.network)
        require_images(spec, schema.shapes, recipe=job.recipe)
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
    prologue = fit_prologue(work, job, schema, source, split, progress)
    matrix = write_matrix(work, job, schema, source, split, prologue, progress)
    if tells_label(job, schema):
        texts = json.loads((work / TEXTS).read_bytes()).get(schema.labels[0].name, {})
        prologue.label = classes_of(schema, matrix.labels[matrix.where(TRAIN), 0], texts)
    with _threads(job.training.threads):
        spec, module, history, selection = learn(
            job.recipe,
            matrix,
            Layout.of(prologue),
            dim=job.dim,
            network=job.network,
            config=job.training,
            seed=job.seed,
            label=schema.labels[0].name if schema.labels else None,
            text=_is_text(schema),
            heads=_heads(job, schema, matrix),
            folder=work,
            progress=progress,
        )
    checkpoint = Checkpoint(
        spec=spec,
        schema=schema,
        prologue=prologue,
        module=module,
        split=split,
        held_out=pq.read_table(work / HELD_OUT),
        profiled=pq.read_table(work / PROFILED),
        history=history,
        selection=selection,
        training_data={
            "fingerprint": source.fingerprint,
            "rows": len(matrix.where(TRAIN)),
            **learnt_from(spec.heads),
        },
        seed=job.seed,
        prior=prior_of(module, matrix),
    )
    checkpoint.save(work / "result")


def learn(
    recipe: str,
    matrix: Matrix,
    layout: Layout,
    *,
    dim: int | None = None,
    network: NetworkConfig | None = None,
    config: TrainingConfig,
    seed: int = 0,
    label: str | None = None,
    text: bool = False,
    heads: tuple[Head, ...] = (),
    folder: Path | None = None,
    progress: Progress | None = None,
) -> tuple[EncoderSpec, Autoencoder, dict[str, Any], dict[str, Any]]:
    """Train `recipe` on a matrix: the spec, the model, the history and the selection.

    With ``auto`` all of the `shortlist` are trained and the best is kept. With `heads` the encoder
    learns from the labels of the matrix.
    """
    width = dim or default_dim(layout.width)
    names: tuple[str, ...] = (recipe,)
    if recipe == AUTO:
        rows = len(matrix.where(TRAIN))
        names = shortlist(layout.width, dim=width, rows=rows, label=label, heads=heads)
    moments = training_moments(matrix, layout)
    models, history = {}, {}
    for name in names:
        models[name], history[name] = make(
            aware(concrete(name, dim=width, network=network), heads),
            matrix=matrix,
            layout=layout,
            moments=moments,
            config=config,
            seed=seed,
            state_path=None if folder is None else folder / f"{name}.safetensors",
            progress=progress,
        )
    if len(models) == 1:
        selection: dict[str, Any] = {"winner": names[0]}
    else:
        selection = select(models, matrix, label=label, text=text)
    winner = models[selection["winner"]]
    return winner.spec, winner, history, selection


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


def _is_text(schema: FeatureSchema) -> bool:
    return bool(schema.labels) and "string" in schema.labels[0].type


def _heads(job: TrainingJob, schema: FeatureSchema, matrix: Matrix) -> tuple[Head, ...]:
    """What the encoder is to learn from the labels of the training rows; nothing unless asked."""
    if not job.use_label:
        return ()
    return heads_of(
        matrix.labels[matrix.where(TRAIN)],
        [column.name for column in schema.labels],
        texts=["string" in column.type for column in schema.labels],
    )


def tells_label(job: TrainingJob, schema: FeatureSchema) -> bool:
    """Whether the decoder is to be told the label, for want of columns with the role condition.

    Raises:
        ConfigError: if the recipe needs a condition and there is neither.
    """
    if job.recipe == AUTO:
        return False
    condition = concrete(job.recipe, dim=1, network=job.network).condition
    if condition == "none" or (condition == "columns" and schema.with_role("condition")):
        return False
    if not schema.labels:
        raise ConfigError(NEEDED)
    return True


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
