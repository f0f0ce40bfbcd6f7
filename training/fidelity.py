"""How alike are drawn rows and real ones: column by column, pair by pair, and to a classifier.

Rows that the encoder never saw stand for the truth. What a difference means is seen beside two
others: real training rows (only chance and drift tell them apart) and the real columns, shuffled
one by one (nothing but what columns tell of each other is lost).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.bundle import Bundle
from pipeline.config import Config
from pipeline.errors import DataError
from pipeline.progress import Progress, Silent
from pipeline.shards import read_batches
from pipeline.source import open_source
from training.baselines import fit_raw_matrix
from training.distributions import (
    ColumnLikeness,
    Floats,
    column_likeness,
    correlation_gap,
    correlations,
)
from training.rows import draw
from training.split import Split
from training.two_sample import (
    LEAST_ROWS,
    Classifier,
    Sample,
    TwoSampleTest,
    two_sample_tests,
)

ROWS = 10_000

_TRAIN, _TEST = 0, 2
_ROWS_PER_BATCH = 16_384


class Likeness(Config):
    """Drawn rows beside real ones; correlations are of ranks, categories by their values."""

    model: str
    recipe: str
    source: str
    generated: str
    where: tuple[str, ...]
    rows: int
    rows_are: str
    columns: tuple[ColumnLikeness, ...]
    pairs: tuple[str, ...]
    correlation_real: tuple[tuple[float, ...], ...]
    correlation_generated: tuple[tuple[float, ...], ...]
    correlation_gap: float
    tests: tuple[TwoSampleTest, ...]
    notes: tuple[str, ...] = ()

    def auc(self, sample: Sample, classifier: Classifier) -> TwoSampleTest:
        """One of the tests."""
        return next(t for t in self.tests if (t.sample, t.classifier) == (sample, classifier))


@dataclass(frozen=True)
class _Rows:
    """Rows of equal number: held out and real, drawn, and real ones that training saw."""

    real: pa.Table
    generated: pa.Table
    train: pa.Table
    told: str
    notes: tuple[str, ...]


def likeness(
    bundle_path: str,
    generated: str,
    source: str,
    *,
    where: Sequence[str] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> Likeness:
    """Compare the drawn file `generated` with the rows of `source` that the encoder never saw.

    Of a `source` that is not the training table all rows count. Under conditions in `where` only
    real rows that meet them do. At most 10,000 rows of each are used, drawn by `seed`.

    Raises:
        BundleError, DataError: if bundle or table cannot be read, or too few rows are left.
        SchemaError: if the table breaks the bundle's contract.
    """
    progress = progress or Silent()
    bundle = Bundle.open(bundle_path)
    schema = bundle.manifest.feature_schema
    rows = _take(bundle, generated, source, where=where, seed=seed)
    raw = fit_raw_matrix(rows.train, schema)
    columns = tuple(
        column_likeness(column, rows.real, rows.generated) for column in schema.features
    )
    pairs, real, drawn = correlations(raw, schema, rows.real, rows.generated)
    tests = two_sample_tests(
        raw,
        real=rows.real,
        generated=rows.generated,
        training=rows.train,
        seed=seed,
        progress=progress,
    )
    return Likeness(
        model=bundle.fingerprint,
        recipe=bundle.manifest.recipe,
        source=source,
        generated=generated,
        where=tuple(where),
        rows=rows.real.num_rows,
        rows_are=rows.told,
        columns=columns,
        pairs=pairs,
        correlation_real=_nested(real),
        correlation_generated=_nested(drawn),
        correlation_gap=correlation_gap(real, drawn),
        tests=tuple(tests),
        notes=rows.notes,
    )


def _take(bundle: Bundle, generated: str, source: str, *, where: Sequence[str], seed: int) -> _Rows:
    schema, split = bundle.manifest.feature_schema, Split.from_json(bundle.manifest.split)
    opened, drawn_file = open_source(source), open_source(generated)
    opened.check(schema, roles=("feature", "condition"))
    names = [column.name for column in schema.features]
    asked = [one.partition("=")[0] for one in where]
    own = opened.fingerprint == bundle.manifest.training_data.get("fingerprint")
    more = [name for name in [*split.columns * own, *asked] if name in opened.arrow_schema.names]
    wanted = list(dict.fromkeys([*names, *more]))
    batches = read_batches(opened, columns=wanted, rows_per_batch=_ROWS_PER_BATCH)
    fake = _all(generated, drawn_file, list(dict.fromkeys([*names, *asked])))
    notes = []
    if asked:
        batches = (_meeting(batch, fake, more=asked) for batch in batches)
        if missing := [name for name in asked if name not in opened.arrow_schema.names]:
            notes.append(
                f"{source} has no column '{missing[0]}', so its rows were not chosen by it."
            )
    assign = split.assign if own and not asked else _halves
    caps = {_TRAIN: ROWS, _TEST: ROWS}
    parts = draw(batches, assign=assign, caps=caps, label=None, seed=seed)
    real, train = parts[_TEST].table, parts[_TRAIN].table
    if asked and own:
        notes.append("Under a condition, real rows are all that meet it, training rows included.")
    rows = min(real.num_rows, train.num_rows, fake.num_rows)
    if rows < LEAST_ROWS:
        raise DataError(
            f"{LEAST_ROWS} real rows and as many drawn ones are required to compare, found "
            f"{min(real.num_rows, train.num_rows)} real and {fake.num_rows} drawn; draw more rows, "
            "or name a larger source"
        )
    told = f"rows the split kept from training ({split.description})" if own else f"all of {source}"
    real, fake, train = (_some(table, rows, seed=seed) for table in (real, fake, train))
    return _Rows(real, fake, train, told, (*notes,))


def _some(table: pa.Table, rows: int, *, seed: int) -> pa.Table:
    """So many rows of `table`, drawn: the first ones may be those of one time."""
    drawn = np.random.default_rng([seed, 3]).permutation(table.num_rows)[:rows]
    return table.take(pa.array(np.sort(drawn)))


def _all(path: str, source: Any, names: list[str]) -> pa.Table:
    """The first rows of a drawn file: they are as good as any others of it."""
    found, rows = [], 0
    present = [name for name in names if name in source.arrow_schema.names]
    for batch in read_batches(source, columns=present, rows_per_batch=_ROWS_PER_BATCH):
        found.append(batch)
        rows += batch.num_rows
        if rows >= ROWS:
            break
    return pa.Table.from_batches(found).slice(0, ROWS).combine_chunks()


def _meeting(batch: pa.RecordBatch, drawn: pa.Table, *, more: Sequence[str]) -> pa.RecordBatch:
    """The rows of `batch` with the values that all drawn rows have in the columns `more`."""
    for name in more:
        if name in batch.schema.names:
            values = batch.column(name)
            if pa.types.is_dictionary(values.type):
                values = values.dictionary_decode()
            one = drawn[name][0].as_py()
            same = pc.equal(values, pa.scalar(one).cast(values.type)).fill_null(False)
            batch = batch.filter(same)
    return batch


def _halves(batch: pa.RecordBatch, first_row: int) -> npt.NDArray[np.uint8]:
    places = np.arange(first_row, first_row + batch.num_rows)
    return np.where(places % 2 == 0, _TRAIN, _TEST).astype(np.uint8)


def _nested(matrix: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(value, 3) for value in row) for row in matrix.tolist())
