"""Two bundles on the same rows, none of which either encoder was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.bundle import Bundle
from pipeline.config import Config, Role
from pipeline.errors import DataError
from pipeline.progress import Progress, Silent
from pipeline.shards import read_batches
from pipeline.source import open_source
from training.baselines import fit_pca, fit_raw_matrix
from training.comparison import Model
from training.evaluation import open_model
from training.health import latent_health
from training.hidden import hidden_columns
from training.probes import ask
from training.results import LatentHealth
from training.rows import draw, target
from training.scoring import METRICS, Floats, resample, score, standard_error
from training.split import Split

TRAIN_ROWS = 20_000
TEST_ROWS = 10_000

_TRAIN, _TEST, _LEFT_OUT = 0, 2, 255
_ROLES: tuple[Role, ...] = ("feature", "condition")


class Contest(Config):
    """Scores of two bundles on the same test rows; the standard error is of their difference.

    The healths are those of their codes of these rows.
    """

    metric: str
    rows: int
    candidate: float
    current: float
    standard_error: float | None = None
    candidate_health: LatentHealth | None = None
    current_health: LatentHealth | None = None


class _Assigns(Protocol):
    def assign(self, batch: pa.RecordBatch, first_row: int) -> npt.NDArray[np.uint8]: ...


def contest(
    candidate: str | Path,
    current: str | Path,
    source: str | Path,
    label: str | None,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Contest:
    """Score both bundles by the linear probe, or by predicting hidden columns without a `label`.

    Probes are fitted on training rows of the candidate and scored on rows of `source` that the
    recorded splits of both bundles keep from training.

    Raises:
        BundleError, DataError: if a bundle or the table cannot be read, or no such row is left.
        SchemaError: if the table breaks the contract of one of them.
    """
    progress = progress or Silent()
    bundles = (Bundle.open(candidate), Bundle.open(current))
    train, test = _rows(bundles, source, label, seed=seed)
    progress.start("candidate and current", len(bundles))
    models = [open_model(bundle) for bundle in bundles]
    if label is None:
        found = _by_hidden_columns(models, train, test, seed=seed, progress=progress)
    else:
        found = _by_label(models, train, test, label, seed=seed, progress=progress)
    progress.finish()
    healths = [_health(model, train, test) for model in models]
    return found.model_copy(update={"candidate_health": healths[0], "current_health": healths[1]})


def _health(model: Model, train: pa.Table, test: pa.Table) -> LatentHealth:
    raw = fit_raw_matrix(train, model.schema)
    return latent_health(model.encode(test), raw.transform(test))


def _rows(
    bundles: tuple[Bundle, Bundle], source: str | Path, label: str | None, *, seed: int
) -> tuple[pa.Table, pa.Table]:
    """Training rows of the first bundle, and the rows that neither of them was trained on."""
    opened = open_source(source)
    names = [] if label is None else [label]
    splits = [Split.from_json(bundle.manifest.split) for bundle in bundles]
    for bundle, split in zip(bundles, splits, strict=True):
        opened.check(bundle.manifest.feature_schema, roles=_ROLES)
        names += [column.name for column in bundle.manifest.feature_schema.features]
        names += split.columns
    drawn = draw(
        read_batches(opened, columns=list(dict.fromkeys(names))),
        assign=_Both(*splits).assign,
        caps={_TRAIN: TRAIN_ROWS, _TEST: TEST_ROWS},
        label=label,
        seed=seed,
    )
    for part, what in ((_TRAIN, "training rows"), (_TEST, "rows that neither model has seen")):
        if drawn[part].table.num_rows < 2:
            raise DataError(
                f"two {what} or more are required in {source} to compare with the current model, "
                f"found {drawn[part].table.num_rows}"
            )
    return drawn[_TRAIN].table, drawn[_TEST].table


class _Both:
    """A split: training rows are those of the first, test rows those that are test to both."""

    def __init__(self, first: _Assigns, second: _Assigns) -> None:
        self._first, self._second = first, second

    def assign(self, batch: pa.RecordBatch, first_row: int) -> npt.NDArray[np.uint8]:
        first = self._first.assign(batch, first_row)
        seen = (first == _TEST) & (self._second.assign(batch, first_row) != _TEST)
        return np.where(seen, np.uint8(_LEFT_OUT), first)


def _by_label(
    models: list[Model],
    train: pa.Table,
    test: pa.Table,
    label: str,
    *,
    seed: int,
    progress: Progress,
) -> Contest:
    goal = target(label, train[label], test[label])
    weights = resample(len(goal.test), seed=seed)
    lines: list[Floats] = []
    for model in models:
        codes = model.encode(train), model.encode(test)
        answer = ask(
            "linear", codes[0], goal.train, codes[1],
            task=goal.task, classes=len(goal.classes), seed=seed,
        )  # fmt: skip
        lines.append(score(goal.task, goal.test, answer.predicted, weights))
        progress.advance(1)
    return Contest(
        metric=METRICS[goal.task],
        rows=test.num_rows,
        candidate=round(float(lines[0][0]), 5),
        current=round(float(lines[1][0]), 5),
        standard_error=round(standard_error(lines[0] - lines[1]), 5),
    )


def _by_hidden_columns(
    models: list[Model], train: pa.Table, test: pa.Table, *, seed: int, progress: Progress
) -> Contest:
    scores: list[float] = []
    for model in models:
        raw = fit_raw_matrix(train, model.schema)
        pca = fit_pca(raw.transform(train), dim=model.dim, seed=seed)
        found = hidden_columns(
            train, test, raw=raw, embed=model.encode, pca=pca.transform, seed=seed
        )
        scores.append(found.embedding if found else 0.0)
        progress.advance(1)
    return Contest(
        metric="R² of hidden columns",
        rows=test.num_rows,
        candidate=scores[0],
        current=scores[1],
    )
