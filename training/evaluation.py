"""Is the embedding worth it? Probes of a bundle against PCA, random projection and raw columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.bundle import Bundle, Manifest
from pipeline.encoder import Encoder
from pipeline.errors import DataError, SchemaError
from pipeline.feed import feed
from pipeline.fitted import open_prologue
from pipeline.progress import Progress, Silent
from pipeline.prologue import Prologue
from pipeline.runs import rows_per_run_of
from pipeline.runtime import Session
from pipeline.schema import FeatureSchema, did_you_mean
from pipeline.shards import read_batches
from pipeline.source import Source, open_source
from training.baselines import Matrix, Raw
from training.comparison import Model, Sample, compare
from training.results import Evaluation
from training.rows import draw, target
from training.split import Split

__all__ = ["Evaluation", "evaluate"]

TRAIN_ROWS = 20_000
TEST_ROWS = 10_000
LEAST_TEST_ROWS = 2

_TRAIN, _TEST = 0, 2
_RARE = 2  # the code of values too rare for a class of their own
_CHANGED = "The source is not the one, or not as it was, that the encoder learnt from."
_POSITIONS = " It has no key, so some test rows may be rows the encoder was trained on."
_ROWS_PER_BATCH = 16_384
_ENTRY = "embedding"


def evaluate(
    bundle_path: str | Path,
    source: str | Path,
    label: str | None,
    *,
    test: str | Path | None = None,
    needs_label: bool = True,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure the bundle's embedding on rows of `source` that its encoder was not trained on.

    Training rows of the recorded split fit probes and baselines; its test rows, or all rows of
    `test`, are scored. Without a label, columns hidden from the input are predicted instead.
    At most 20,000 training and 10,000 test rows are used, drawn by `seed`. With `needs_label`
    off, a label that has too little or too much to tell apart is noted and left aside, as after
    training, where it was only an offer.

    Raises:
        BundleError, DataError: if the bundle or the table cannot be read, or has too few rows.
        SchemaError: if the table breaks the bundle's contract, or the label is missing or is one
            of the encoder's inputs.
    """
    bundle = Bundle.open(bundle_path)
    take = partial(take_sample, bundle, source, test=test, seed=seed)
    sample, label = _take_labelled(take, label, needed=needs_label)
    return compare(open_model(bundle), sample, label, seed=seed, progress=progress or Silent())


def _take_labelled(
    take: Callable[[str | None], Sample], label: str | None, *, needed: bool
) -> tuple[Sample, str | None]:
    """The rows that have `label`, and it; all rows and None where it is not needed and hopeless."""
    if label is None or needed:
        return take(label), label
    try:
        sample = take(label)
        target(label, sample.train.table[label], sample.test.table[label])
    except DataError as error:
        sample = take(None)
        return replace(sample, notes=(*sample.notes, f"The label was not probed: {error}.")), None
    return sample, label


def open_model(bundle: Bundle) -> Model:
    """The functions of a bundle that an evaluation calls."""
    manifest = bundle.manifest
    encoder = Encoder.open(bundle.path)
    audited = bundle.model("decoder.onnx")
    decoder, at_once = Session(audited), rows_per_run_of(audited)
    prologue = open_prologue(bundle)
    outputs = decoder.outputs

    def decode(codes: Matrix, table: pa.Table) -> dict[str, Raw]:
        told = conditions_of(table, manifest)
        runs, first = [], 0
        for part in _parts(codes, at_once):
            rows = slice(first, first := first + len(part))
            given = {name: values[rows] for name, values in told.items()}
            runs.append(decoder.run(outputs, {_ENTRY: part, **given}))
        return {name: np.concatenate([r[i] for r in runs]) for i, name in enumerate(outputs)}

    def prepare(table: pa.Table) -> Matrix:
        return prepared_matrix(prologue, table)

    return Model(
        bundle.fingerprint, manifest.recipe, manifest.dim, manifest.feature_schema,
        encoder.transform, decode, prepare, learnt_from(manifest.training_data),
    )  # fmt: skip


def learnt_from(training_data: Mapping[str, Any]) -> dict[str, int]:
    """The labels that a bundle's encoder learnt from, and its training rows that had them.

    >>> learnt_from({"rows": 800, "labels": {"late": 790}})
    {'late': 790}
    """
    found = training_data.get("labels")
    pairs = found.items() if isinstance(found, dict) else ()
    return {str(name): rows for name, rows in pairs if isinstance(rows, int)}


def conditions_of(table: pa.Table, manifest: Manifest) -> dict[str, Raw]:
    """What decoder.onnx is told of the rows of `table` beside their codes, by column name.

    Condition columns as they are; a label is not known, as wherever rows are embedded.
    """
    found = [manifest.feature_schema[name] for name in manifest.conditions]
    told = {
        column.name: table[column.name] if column.role == "condition" else pa.nulls(table.num_rows)
        for column in found
    }
    given = [column.model_copy(update={"role": "condition"}) for column in found]
    return feed(pa.table(told), FeatureSchema(columns=tuple(given))) if told else {}


def prepared_matrix(prologue: Prologue, table: pa.Table) -> Matrix:
    """The prologue's own matrix: standardised values, and categories one-hot, float32."""
    classes = prologue.classes
    matrix = np.zeros((table.num_rows, len(prologue.numeric_slots) + sum(classes)), np.float32)
    first = 0
    # Filled in place: with a thousand classes every copy of it takes hundreds of megabytes.
    for run in prologue.runs(table):
        rows = matrix[first : first + len(run.numeric)]
        first += len(rows)
        start = run.numeric.shape[1]
        rows[:, :start] = run.numeric
        for place, count in enumerate(classes):
            codes = run.codes[:, place]
            rows[np.arange(len(rows)), start + np.where(codes < count, codes, _RARE)] = 1
            start += count
    return matrix


def _parts(matrix: Matrix, rows: int) -> list[Matrix]:
    starts = range(0, max(1, len(matrix)), rows)
    return [np.ascontiguousarray(matrix[start : start + rows]) for start in starts]


def take_sample(
    bundle: Bundle, source: str | Path, label: str | None, *, test: str | Path | None, seed: int
) -> Sample:
    """Training and test rows by the split that the bundle records, or test rows from `test`."""
    schema, split = bundle.manifest.feature_schema, Split.from_json(bundle.manifest.split)
    opened = _open(source, schema, label)
    columns = _columns(schema, label, [*split.columns])
    _require_columns(opened, split.columns)
    notes = []
    caps = {_TRAIN: TRAIN_ROWS, _TEST: TEST_ROWS} if test is None else {_TRAIN: TRAIN_ROWS}
    batches = read_batches(opened, columns=columns, rows_per_batch=_ROWS_PER_BATCH)
    drawn = draw(batches, assign=split.assign, caps=caps, label=label, seed=seed)
    if opened.fingerprint != bundle.manifest.training_data.get("fingerprint"):
        notes.append(_CHANGED + (_POSITIONS if split.rule == "position" and test is None else ""))
    if test is None:
        told = f"rows the split kept from training ({split.description})"
    else:
        held = _open(test, schema, label)
        if held.fingerprint == opened.fingerprint:
            raise DataError(f"--test must hold rows the encoder never saw, found the training "
                            f"source {source}; leave it out to use the split")  # fmt: skip
        batches = read_batches(
            held, columns=_columns(schema, label, []), rows_per_batch=_ROWS_PER_BATCH
        )
        drawn |= draw(batches, assign=_all_test, caps={_TEST: TEST_ROWS}, label=label, seed=seed)
        told = f"all rows of {Path(test).name}"
    for part, name in ((_TRAIN, "training"), (_TEST, "test")):
        if drawn[part].table.num_rows < LEAST_TEST_ROWS:
            having = f" with a '{label}'" if label is not None else ""
            raise DataError(f"{source} needs {LEAST_TEST_ROWS} {name} rows{having} or more, found "
                            f"{drawn[part].table.num_rows}; pass --test or more rows")  # fmt: skip
    rule = split.rule if test is None else "given"
    return Sample(drawn[_TRAIN], drawn[_TEST], told, tuple(notes), rule)


def _all_test(batch: pa.RecordBatch, first_row: int) -> npt.NDArray[np.uint8]:
    return np.full(batch.num_rows, _TEST, np.uint8)


def _open(path: str | Path, schema: FeatureSchema, label: str | None) -> Source:
    source = open_source(str(path))
    source.check(schema, roles=("feature", "condition"))
    names = source.arrow_schema.names
    if label is not None and label not in names:
        raise SchemaError(f"label '{label}' must be a column of {path}, which has no such column"
                          f"{did_you_mean(label, names)}")  # fmt: skip
    if label is not None and label in {column.name for column in schema.features}:
        raise SchemaError(f"label '{label}' must not be an input of the encoder, which reads it; "
                          f"train with --label {label}")  # fmt: skip
    return source


def _require_columns(source: Source, columns: Sequence[str]) -> None:
    for name in columns:
        if name not in source.arrow_schema.names:
            raise SchemaError(
                f"column '{name}' decides which rows were trained on, but {source.path} has no "
                "such column; add it, or pass --test"
            )


def _columns(schema: FeatureSchema, label: str | None, more: Sequence[str]) -> list[str]:
    wanted = [column.name for column in schema.features] + [label, *more]
    return list(dict.fromkeys(name for name in wanted if name is not None))
