"""Can a classifier tell two samples of rows apart? The classifier two-sample test.

Lopez-Paz & Oquab, "Revisiting classifier two-sample tests", 2017 (arXiv 1610.06545): a model that
cannot tell two samples apart has found no difference.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa

from pipeline.config import Config
from pipeline.progress import Progress
from training.baselines import Matrix, RawMatrix
from training.probes import ask
from training.scoring import resample, roc_auc

LEAST_ROWS = 100
MOST_CELLS = 4_000_000
"""Cells of the matrix that a classifier is fitted to: with many columns there are fewer rows."""

Sample = Literal["generated rows", "real training rows", "columns shuffled"]
Classifier = Literal["trees", "linear"]


class TwoSampleTest(Config):
    """ROC AUC of a classifier that tells `sample` from held-out real rows, with 95 % interval."""

    sample: Sample
    classifier: Classifier
    auc: float
    low: float
    high: float


def two_sample_tests(
    raw: RawMatrix,
    *,
    real: pa.Table,
    generated: pa.Table,
    training: pa.Table,
    seed: int,
    progress: Progress,
) -> list[TwoSampleTest]:
    """Every sample told from the `real` rows by every classifier."""
    most = max(LEAST_ROWS, MOST_CELLS // max(1, raw.width))
    held_out, drawn, train = (
        raw.transform(table.slice(0, most)) for table in (real, generated, training)
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
            found.append(two_sample(held_out, matrix, sample, classifier, seed=seed))
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
    """A classifier fitted on half of the rows of both [rows, columns] and scored on the rest.

    The halves are drawn: rows may stand in an order of time, and of a sample that drifts a
    classifier learns from one half what is the reverse in the other.
    """
    random, half = np.random.default_rng([seed, 2]), len(real) // 2
    real, other = (rows[random.permutation(len(rows))] for rows in (real, other))
    matrix = np.concatenate([real[:half], other[:half]])
    held = np.concatenate([real[half:], other[half:]])
    label = np.repeat([0, 1], half)
    order = random.permutation(len(matrix))
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
