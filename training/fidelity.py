"""How alike are drawn rows and real ones: column by column, pair by pair, and to a classifier.

The classifier two-sample test of Lopez-Paz & Oquab, "Revisiting classifier two-sample tests", 2017
(arXiv 1610.06545): a model that cannot tell two samples apart has found no difference. Rows that
the encoder never saw stand for the truth. What a difference means is seen beside two others: real
training rows (only chance and drift tell them apart) and the real columns, shuffled one by one
(nothing but what columns tell of each other is lost).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.bundle import Bundle
from pipeline.config import Config
from pipeline.errors import DataError
from pipeline.progress import Progress, Silent
from pipeline.schema import Column, FeatureSchema
from pipeline.shards import read_batches
from pipeline.source import open_source
from training.baselines import Categories, Matrix, Numbers, RawMatrix, fit_raw_matrix, is_null, read
from training.probes import ask
from training.rows import draw
from training.scoring import resample, roc_auc
from training.split import Split

ROWS = 10_000
LEAST_ROWS = 100
MOST_CELLS = 4_000_000
"""Cells of the matrix that a classifier is fitted to: with many columns there are fewer rows."""
MOST_PAIRED = 40
BINS = 20
MOST_VALUES = 8

_TRAIN, _TEST = 0, 2
_ROWS_PER_BATCH = 16_384
_OTHERS = "others"

Sample = Literal["generated rows", "real training rows", "columns shuffled"]
Classifier = Literal["trees", "linear"]
Floats = npt.NDArray[np.float64]


class Bar(Config):
    """A range or a value of a column, and the share of rows that have it."""

    name: str
    real: float
    generated: float


class ColumnLikeness(Config):
    """How alike one column is: largest difference of shares up to a value (KS), or total variation.

    A vector's distance is the mean of its elements'.
    """

    name: str
    kind: str
    measure: Literal["KS", "total variation"]
    distance: float
    nulls_real: float
    nulls_generated: float
    bars: tuple[Bar, ...]


class TwoSampleTest(Config):
    """ROC AUC of a classifier that tells `sample` from held-out real rows, with 95 % interval."""

    sample: Sample
    classifier: Classifier
    auc: float
    low: float
    high: float


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
    columns = tuple(_column(column, rows.real, rows.generated) for column in schema.features)
    pairs, real, drawn = _correlations(raw, schema, rows)
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
        correlation_gap=_gap(real, drawn),
        tests=tuple(_tests(raw, rows, seed=seed, progress=progress)),
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
    return _Rows(real.slice(0, rows), fake.slice(0, rows), train.slice(0, rows), told, (*notes,))


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


def _column(column: Column, real: pa.Table, drawn: pa.Table) -> ColumnLikeness:
    pair = [read(table, column) for table in (real, drawn)]
    if column.kind == "category":
        nulls = [np.asarray(is_null(values, column)) for values in pair]
        counted = [_told(values[~null]) for values, null in zip(pair, nulls, strict=True)]
        distance, bars = _value_bars(*counted)
    else:
        nulls = [np.asarray(np.isnan(values).any(axis=1)) for values in pair]
        present = [values[~null] for values, null in zip(pair, nulls, strict=True)]
        if column.kind == "boolean":
            told = [np.where(values[:, 0] > 0.5, "true", "false") for values in present]
            distance, bars = _value_bars(*told)
        else:
            distance, bars = _range_bars(*present, time=column.kind == "timestamp")
    counts = column.kind in ("category", "boolean")
    return ColumnLikeness(
        name=column.name,
        kind=str(column.kind),
        measure="total variation" if counts else "KS",
        distance=distance,
        nulls_real=float(nulls[0].mean()),
        nulls_generated=float(nulls[1].mean()),
        bars=bars,
    )


def _told(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.array([str(value) for value in values.tolist()], dtype=object)


def _value_bars(real: npt.NDArray[Any], drawn: npt.NDArray[Any]) -> tuple[float, tuple[Bar, ...]]:
    """Total variation, and the shares of the commonest values and of all others."""
    shares: list[dict[str, float]] = []
    for values in (real, drawn):
        names, counts = np.unique(values.astype(str), return_counts=True)
        shares.append(
            dict(zip(names.tolist(), (counts / max(1, len(values))).tolist(), strict=True))
        )
    every = sorted({*shares[0], *shares[1]}, key=lambda name: -shares[0].get(name, 0.0))
    pairs = [
        Bar(name=name, real=shares[0].get(name, 0.0), generated=shares[1].get(name, 0.0))
        for name in every
    ]
    # What stands once or twice among the real rows is not told apart: no sample would agree.
    least = 3 / max(1, len(real))
    common = [bar for bar in pairs if bar.real >= least]
    rest = [bar for bar in pairs if bar.real < least]
    distance = 0.5 * sum(abs(bar.real - bar.generated) for bar in [*common, _joined(rest)])
    others = _joined([*common[MOST_VALUES:], *rest])
    bars = [*common[:MOST_VALUES], *([others] if others.real or others.generated else [])]
    return distance, tuple(bars)


def _joined(bars: Sequence[Bar]) -> Bar:
    return Bar(
        name=_OTHERS,
        real=sum(bar.real for bar in bars),
        generated=sum(bar.generated for bar in bars),
    )


def _range_bars(real: Floats, drawn: Floats, *, time: bool) -> tuple[float, tuple[Bar, ...]]:
    """Mean KS distance over the elements, and shares by range of the first of them that varies."""
    if not len(real) or not len(drawn):
        return float(len(real) != len(drawn)), ()
    distance = float(np.mean([ks(real[:, i], drawn[:, i]) for i in range(real.shape[1])]))
    varying = np.flatnonzero(real.std(axis=0) > 0)
    at = int(varying[len(varying) // 2]) if len(varying) else 0
    low, high = np.quantile(real[:, at], [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    outer = np.concatenate([[-np.inf], edges[1:-1], [np.inf]])
    shares = [np.histogram(part[:, at], outer)[0] / len(part) for part in (real, drawn)]
    names = [_said(edge, time=time) for edge in edges]
    return distance, tuple(
        Bar(name=name, real=float(a), generated=float(b))
        for name, a, b in zip(names, *shares, strict=False)
    )


def _said(value: float, *, time: bool) -> str:
    return str(np.datetime64(int(value), "us").astype("datetime64[D]")) if time else f"{value:.3g}"


def ks(one: Floats, other: Floats) -> float:
    """Kolmogorov and Smirnov's distance of two samples.

    >>> ks(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    0.5
    """
    points = np.concatenate([one, other])
    below = [
        np.searchsorted(np.sort(part), points, side="right") / len(part) for part in (one, other)
    ]
    return float(np.abs(below[0] - below[1]).max())


def _correlations(
    raw: RawMatrix, schema: FeatureSchema, rows: _Rows
) -> tuple[tuple[str, ...], Floats, Floats]:
    """Names and rank correlations of at most 40 columns of the raw matrix that vary."""
    tables = [raw.transform(table) for table in (rows.real, rows.generated)]
    names: list[str] = []
    places: list[int] = []
    each = max(1, MOST_PAIRED // max(1, len(schema.features)))
    for column in schema.features:
        start, block = raw.slices()[column.name].start, raw.blocks[column.name]
        shown = _names(column, block)[: each if len(schema.features) < MOST_PAIRED else 1]
        places += range(start, start + len(shown))
        names += shown
    step = max(1, -(-len(places) // MOST_PAIRED))
    places, names = places[::step], names[::step]
    found = [_ranked(table[:, places]) for table in tables]
    return tuple(names), *found  # type: ignore[return-value]


def _names(column: Column, block: Numbers | Categories) -> list[str]:
    """Names of the first columns of a feature's block, the commonest values first."""
    if isinstance(block, Categories):
        return [f"{column.name} {value}" for value in list(block.positions)[:2]]
    if column.kind in ("vector", "image"):
        return [f"{column.name} {place}" for place in range(len(block.mean))]
    return [column.name]


def _ranked(matrix: Matrix) -> Floats:
    """Correlations of ranks [columns, columns]; 0 where a column is constant."""
    from scipy.stats import rankdata

    ranks = np.asarray(rankdata(matrix, axis=0))
    centred = ranks - ranks.mean(axis=0)
    deviation = np.sqrt((centred**2).mean(axis=0))
    scaled = np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 0)
    found: Floats = scaled.T @ scaled / len(matrix)
    return found


def _gap(real: Floats, drawn: Floats) -> float:
    """Mean absolute difference of the correlations of two different columns."""
    others = ~np.eye(len(real), dtype=bool)
    return float(np.abs(real - drawn)[others].mean()) if len(real) > 1 else 0.0


def _nested(matrix: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(value, 3) for value in row) for row in matrix.tolist())


def _tests(raw: RawMatrix, rows: _Rows, *, seed: int, progress: Progress) -> list[TwoSampleTest]:
    """Every sample told from the real rows by every classifier."""
    most = max(LEAST_ROWS, MOST_CELLS // max(1, raw.width))
    real, drawn, train = (
        raw.transform(table.slice(0, most)) for table in (rows.real, rows.generated, rows.train)
    )
    random = np.random.default_rng([seed, 1])
    samples: dict[Sample, Matrix] = {
        "generated rows": drawn,
        "real training rows": train,
        "columns shuffled": _shuffled(raw, train, random),
    }
    classifiers: tuple[Classifier, ...] = ("trees", "linear")
    progress.start("two-sample tests", len(samples) * len(classifiers))
    found = []
    for sample, matrix in samples.items():
        for classifier in classifiers:
            found.append(two_sample(real, matrix, sample, classifier, seed=seed))
            progress.advance(1)
    progress.finish()
    return found


def _shuffled(raw: RawMatrix, matrix: Matrix, random: np.random.Generator) -> Matrix:
    """The same values in every column, those of a row no longer of one row."""
    found = matrix.copy()
    for own in raw.slices().values():
        found[:, own] = matrix[random.permutation(len(matrix)), own]
    return found


def two_sample(
    real: Matrix, other: Matrix, sample: Sample, classifier: Classifier, *, seed: int
) -> TwoSampleTest:
    """A classifier fitted on half of the rows of both [rows, columns] and scored on the rest."""
    half = len(real) // 2
    matrix = np.concatenate([real[:half], other[:half]])
    held = np.concatenate([real[half:], other[half:]])
    label = np.repeat([0, 1], half)
    order = np.random.default_rng([seed, 2]).permutation(len(matrix))
    answer = ask(
        classifier, matrix[order], label[order], held, task="two classes", classes=2, seed=seed
    )
    truth = np.repeat([0, 1], [len(real) - half, len(other) - half])
    replicates = roc_auc(truth, answer.predicted, resample(len(truth), seed=seed))
    low, high = np.nanquantile(replicates[1:], [0.025, 0.975])
    return TwoSampleTest(
        sample=sample,
        classifier=classifier,
        auc=float(replicates[0]),
        low=float(low),
        high=float(high),
    )
