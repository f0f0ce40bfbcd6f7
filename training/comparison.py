"""One evaluation, given a model's functions and two tables: every representation, every probe."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from pipeline.progress import Progress
from pipeline.schema import FeatureSchema
from training.baselines import Matrix, Raw, RawMatrix, fit_pca, fit_raw_matrix, random_projection
from training.health import latent_health, project, reconstruction
from training.hidden import hidden_columns
from training.leakage import Rows, suspicions
from training.probes import PROBES, ask
from training.results import (
    Encoding,
    Evaluation,
    Lead,
    ProbeName,
    Representation,
    RowCounts,
    Score,
    Verdict,
)
from training.rows import Drawn, Target, target
from training.scoring import METRICS, Floats, resample, score, standard_error
from training.verdict import judge


@dataclass(frozen=True)
class Model:
    """What an evaluation needs of a bundle: three functions and the columns they read.

    `encode` gives codes [rows, dim] of a table, `decode` raw columns by name from codes and the
    rows that may have conditions, and `prepare` the encoder's own prepared matrix [rows, columns].
    `learnt_from` gives the labels that the encoder learnt from, and the rows that had them.
    """

    fingerprint: str
    recipe: str
    dim: int
    schema: FeatureSchema
    encode: Callable[[pa.Table], Matrix]
    decode: Callable[[Matrix, pa.Table], dict[str, Raw]]
    prepare: Callable[[pa.Table], Matrix]
    learnt_from: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """The rows an evaluation works on, and what is to be said about them.

    `rule` is that of the split which kept the test rows from training, or "given".
    """

    train: Drawn
    test: Drawn
    test_rows_are: str
    notes: tuple[str, ...] = ()
    rule: str = "given"


def compare(
    model: Model, sample: Sample, label: str | None, *, seed: int = 0, progress: Progress
) -> Evaluation:
    """The evaluation of `model` on a sample; `evaluate` without the files around it."""
    started = time.perf_counter()
    train, test = sample.train.table, sample.test.table
    goal = None if label is None else target(label, train[label], test[label])
    progress.start("representations", len(REPRESENTATIONS))
    with threadpool_limits(1):
        bench = _bench(model, train, test, seed=seed, progress=progress)
    progress.finish()
    scores, leads = _probe_all(bench, goal, seed, progress) if goal else ((), ())
    hidden = None
    if goal is None:
        hidden = hidden_columns(
            train, test, raw=bench.raw, embed=model.encode, pca=bench.pca_of, seed=seed
        )
    codes = bench.matrices["embedding"]
    raw = bench.matrices["raw"]
    suspected = suspicions(Rows(bench.raw, *raw, goal=goal, rule=sample.rule))
    found = Evaluation(
        bundle=model.fingerprint, recipe=model.recipe, dim=model.dim,
        table_columns=sum(column.length or 1 for column in model.schema.features),
        label=label, task=goal.task if goal else None,
        metric=METRICS[goal.task] if goal else None, classes=goal.classes if goal else (),
        test_rows_are=sample.test_rows_are, rows=_counts(sample), seed=seed,
        scores=scores, leads=leads, encodings=bench.encodings, hidden_columns=hidden,
        health=latent_health(codes[1], raw[1]), learnt_from=dict(model.learnt_from),
        reconstruction=reconstruction(test, model.decode(codes[1], test), bench.raw, bench.pca),
        map=project(*codes, goal, seed=seed),
        verdict=Verdict(kind="unprobed", headline=""),
        notes=(*sample.notes, *suspected, *_capped(sample)),
        seconds=round(time.perf_counter() - started, 3),
    )  # fmt: skip
    return found.model_copy(update={"verdict": judge(found)})


def _counts(sample: Sample) -> RowCounts:
    return RowCounts(
        train=sample.train.table.num_rows,
        train_available=sample.train.available,
        test=sample.test.table.num_rows,
        test_available=sample.test.available,
        unlabelled=sample.train.unlabelled + sample.test.unlabelled,
    )


def _capped(sample: Sample) -> list[str]:
    return [
        f"{drawn.table.num_rows:,} of {drawn.available:,} {name} rows were drawn at random."
        for name, drawn in (("training", sample.train), ("test", sample.test))
        if drawn.table.num_rows < drawn.available
    ]


@dataclass
class _Bench:
    """Every representation of the training and test rows, and what was fitted to get them."""

    raw: RawMatrix
    pca: Any
    matrices: dict[Representation, tuple[Matrix, Matrix]]
    encodings: tuple[Encoding, ...]

    def pca_of(self, matrix: Matrix) -> Matrix:
        """The PCA baseline's codes of rows of the raw matrix."""
        return np.asarray(self.pca.transform(matrix), np.float32)


def _bench(
    model: Model, train: pa.Table, test: pa.Table, *, seed: int, progress: Progress
) -> _Bench:
    raw = fit_raw_matrix(train, model.schema)
    found: dict[Representation, tuple[Matrix, Matrix]] = {}
    took: dict[Representation, float] = {}

    def add(name: Representation, encode: Callable[[pa.Table], Matrix]) -> None:
        started = time.perf_counter()
        found[name] = (
            np.asarray(encode(train), np.float32), np.asarray(encode(test), np.float32)
        )  # fmt: skip
        took[name] = time.perf_counter() - started
        progress.advance(1)

    add("embedding", model.encode)
    add("raw", raw.transform)
    pca = fit_pca(found["raw"][0], dim=model.dim, seed=seed)
    add("PCA", lambda table: pca.transform(raw.transform(table)))
    own = fit_pca(model.prepare(train), dim=model.dim, seed=seed)
    add("prepared PCA", lambda table: own.transform(model.prepare(table)))
    thrown = random_projection(raw.width, dim=model.dim, seed=seed)
    add("random", lambda table: raw.transform(table) @ thrown)
    rows = train.num_rows + test.num_rows
    encodings = tuple(
        Encoding(representation=name, columns=found[name][0].shape[1],
                 seconds=round(took[name], 4), rows=rows)
        for name in REPRESENTATIONS
    )  # fmt: skip
    return _Bench(raw, pca, {name: found[name] for name in REPRESENTATIONS}, encodings)


def _probe_all(
    bench: _Bench, goal: Target, seed: int, progress: Progress
) -> tuple[tuple[Score, ...], tuple[Lead, ...]]:
    weights = resample(len(goal.test), seed=seed)
    scores: list[Score] = []
    drawn: dict[tuple[Representation, ProbeName], Floats] = {}
    progress.start("probes", len(PROBES) * len(bench.matrices))
    for probe in PROBES:
        for name, (train, test) in bench.matrices.items():
            answer = ask(
                probe, train, goal.train, test,
                task=goal.task, classes=len(goal.classes), seed=seed,
            )  # fmt: skip
            lines = drawn[name, probe] = score(goal.task, goal.test, answer.predicted, weights)
            scores.append(
                Score(representation=name, probe=probe, score=round(float(lines[0]), 5),
                      standard_error=round(standard_error(lines), 5),
                      fit_seconds=round(answer.fit_seconds, 6),
                      predict_seconds=round(answer.predict_seconds, 6))
            )  # fmt: skip
            progress.advance(1, score=float(lines[0]))
    progress.finish()
    leads = tuple(_lead(drawn, name, probe) for probe in PROBES for name in REPRESENTATIONS[1:])
    return tuple(scores), leads


def _lead(
    drawn: dict[tuple[Representation, ProbeName], Floats], over: Representation, probe: ProbeName
) -> Lead:
    ahead = 100 * (drawn["embedding", probe] - drawn[over, probe])
    return Lead(over=over, probe=probe, points=round(float(ahead[0]), 3),
                standard_error=round(standard_error(ahead), 3))  # fmt: skip


REPRESENTATIONS: tuple[Representation, ...] = ("embedding", "PCA", "prepared PCA", "random", "raw")
