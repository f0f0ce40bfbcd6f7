"""The choice between candidates: by the label's probe, or by columns hidden from the encoder.

Measured on validation rows. The first candidate is kept unless another is ahead by more than the
standard error of their paired difference asks for, so that noise does not decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.prologue import Prepared
from training.autoencoder import Autoencoder
from training.candidates import embed_rows
from training.corruption import UNKNOWN
from training.labels import as_target, task_of
from training.layout import Layout
from training.matrix import TRAIN, VALIDATION, Matrix
from training.probes import ask
from training.scoring import METRICS, Array, Task, resample, score, standard_error

PROBE_ROWS = 10_000
HIDDEN_ROWS = 4_000
FOLDS = 3
LEAST_HIDDEN_LEAD = 0.05  # hidden columns only stand in for a label that is not known yet
MOST_HIDDEN = 16
LEAST_EXPLAINED = 0.05
"""Variance below which no column tells of another: there is nothing that a network could learn."""

SAFE = "linear"
HIDDEN = "variance explained of columns hidden from the encoder"
RIDGE = 1.0
SURE, STEADY_ROWS = 0.01, 600
"""Up to this standard error, and from so many rows, evidence is taken as it is: `needed_lead`."""
CLEARLY = 2.0
"""How many times what is needed a code must lead one that was made for the label."""

Floats = npt.NDArray[np.float64]
Models = Mapping[str, Autoencoder]


@dataclass(frozen=True)
class Leads:
    """Scores of the candidates on `rows` rows, and how sure their leads over the first are.

    `scores` and `errors` (standard errors of the lead) are shares of 1. `refuted` names candidates
    whose lead is not seen on the training rows; `least` is what a lead must be at least.
    """

    criterion: str
    scores: dict[str, float]
    errors: dict[str, float]
    rows: int
    least: float = 0.0
    refuted: tuple[str, ...] = ()


def select(
    models: Models, matrix: Matrix, *, label: str | None, text: bool = False
) -> dict[str, Any]:
    """What was compared and which candidate won, as plain data.

    `label` names the first column of ``matrix.labels``; `text` says whether its values are codes
    of strings. The keys are criterion, scores, standard_errors (of each lead over the first
    candidate), refuted, winner and margin.
    """
    found = None if label is None else by_label(models, matrix, name=label, text=text)
    found = found or by_hidden_columns(models, matrix)
    first = next(iter(models))
    winner = first
    sureness = 1.0 if models[first].spec.target == "none" else CLEARLY
    for name, value in found.scores.items():
        lead = value - found.scores[first]
        needed = max(found.least, sureness * needed_lead(found.errors[name], rows=found.rows))
        if lead > needed and name not in found.refuted and value > found.scores[winner]:
            winner = name
    if found.criterion == HIDDEN and max(found.scores.values()) < LEAST_EXPLAINED:
        winner = SAFE if SAFE in models else winner
    return {
        "criterion": found.criterion,
        "scores": {name: round(value, 5) for name, value in found.scores.items()},
        "standard_errors": {name: round(value, 5) for name, value in found.errors.items()},
        "refuted": list(found.refuted),
        "winner": winner,
        "margin": round(found.scores[winner] - found.scores[first], 5),
    }


def needed_lead(standard_error: float, *, rows: int) -> float:
    """How far ahead a candidate must be: its standard error, and more when the evidence is thin.

    Gains of a recipe are a few points at most. With few validation `rows` a lead of one standard
    error is more likely luck than gain, so the requirement grows with the square of a large
    standard error and, below 600 rows, with the root of what is missing.

    >>> [round(needed_lead(e, rows=n), 4) for e, n in ((0.004, 5000), (0.02, 5000), (0.02, 150))]
    [0.004, 0.04, 0.08]
    """
    doubt = max(1.0, standard_error / SURE) * max(1.0, (STEADY_ROWS / max(1, rows)) ** 0.5)
    return float(standard_error * doubt)


def by_label(models: Models, matrix: Matrix, *, name: str, text: bool) -> Leads | None:
    """Scores of a linear probe on validation rows; None where the label cannot be probed.

    The same probe, cross-validated on the many more training rows, may only refute a lead: the
    encoder saw those rows (never their labels), so that they could flatter a candidate.
    """
    rows = [_labelled(matrix, split) for split in (TRAIN, VALIDATION)]
    values = [matrix.labels[part, 0] for part in rows]
    task = task_of(values[0], text=text)
    if task is None or not len(values[1]) or (task != "numbers" and len(np.unique(values[1])) < 2):
        return None
    known = np.unique(values[0])
    train, test = (as_target(part, task, known=known) for part in values)
    weights = resample(len(test))
    lines, seen = {}, {}
    for candidate, model in models.items():
        codes = [embed_rows(model, matrix.take(part)) for part in rows]
        answer = ask("linear", codes[0], train, codes[1], task=task, classes=len(known))
        lines[candidate] = score(task, test, answer.predicted, weights)
        seen[candidate] = cross_validated(codes[0], train, task=task, classes=len(known))
    leads = _leads(f"{METRICS[task]} of a linear probe of '{name}'", seen, rows=len(train))
    refuted = tuple(
        candidate
        for candidate, value in leads.scores.items()
        if value - next(iter(leads.scores.values())) < leads.errors[candidate]
    )
    return replace(_leads(leads.criterion, lines, rows=len(test)), refuted=refuted[1:])


def cross_validated(
    codes: npt.NDArray[np.float32], label: Array, *, task: Task, classes: int
) -> Floats:
    """Score of a linear probe on the rows it was not fitted on, under 200 resamples, [201]."""
    fold = np.random.default_rng(0).permutation(len(label)) % FOLDS
    predicted = np.zeros(len(label))
    for held in range(FOLDS):
        rest = fold != held
        if len(np.unique(label[rest])) < 2:
            return np.zeros(1)
        answer = ask("linear", codes[rest], label[rest], codes[~rest], task=task, classes=classes)
        predicted[~rest] = answer.predicted
    return score(task, label, predicted, resample(len(label)))


def by_hidden_columns(models: Models, matrix: Matrix) -> Leads:
    """How well the code of a row predicts a column that was hidden from the encoder.

    Mean over at most 16 columns of the variance that ridge regression explains on validation
    rows; a category is predicted as its one-hot columns.
    """
    splits = [TRAIN, VALIDATION if len(matrix.where(VALIDATION)) else TRAIN]
    train, test = (matrix.take(matrix.sample(split, limit=HIDDEN_ROWS)) for split in splits)
    weights = resample(len(test.codes))
    weights = weights / weights.sum(axis=1, keepdims=True)
    lines = {}
    for candidate, model in models.items():
        units = _hidden_units(model.layout, test)
        errors = [_unexplained(model, unit, train, test) for unit in units]
        lines[candidate] = 1 - weights @ np.mean(errors, axis=0)
    return replace(_leads(HIDDEN, lines, rows=len(test.codes)), least=LEAST_HIDDEN_LEAD)


def _leads(criterion: str, lines: dict[str, Floats], *, rows: int) -> Leads:
    first = next(iter(lines.values()))
    return Leads(
        criterion,
        {name: float(line[0]) for name, line in lines.items()},
        {name: standard_error(line - first) for name, line in lines.items()},
        rows,
    )


def _labelled(matrix: Matrix, split: int) -> npt.NDArray[np.int64]:
    rows: npt.NDArray[np.int64] = matrix.where(split)
    rows = rows[np.isfinite(matrix.labels[rows, 0])]
    if len(rows) > PROBE_ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, PROBE_ROWS).astype(np.int64)]
    return rows


def _hidden_units(layout: Layout, rows: Prepared) -> list[int]:
    """At most 16 columns or elements that vary in `rows`, evenly spread."""
    varying = [u for u in range(layout.units) if _goal(rows, layout, u).var(axis=0).sum() > 1e-3]
    places = np.linspace(0, len(varying) - 1, min(MOST_HIDDEN, len(varying))).astype(int)
    return [varying[place] for place in places]


def _unexplained(model: Autoencoder, unit: int, train: Prepared, test: Prepared) -> Floats:
    """Squared error of each test row over the variance of the hidden unit, [N]."""
    goals = [_goal(part, model.layout, unit) for part in (train, test)]
    hidden = [embed_rows(model, _hide(part, model.layout, unit)) for part in (train, test)]
    inputs = np.concatenate([hidden[0], np.ones((len(hidden[0]), 1))], axis=1).astype(np.float64)
    normal = inputs.T @ inputs + RIDGE * np.eye(inputs.shape[1])
    coefficients = np.linalg.solve(normal, inputs.T @ goals[0])
    # Rows of another time may lie far from all that was seen, and one column would decide alone.
    predicted = np.clip(
        hidden[1] @ coefficients[:-1] + coefficients[-1], goals[0].min(axis=0), goals[0].max(axis=0)
    )
    spread = max(float(part.var(axis=0).sum()) for part in goals)
    missed: Floats = ((goals[1] - predicted) ** 2).sum(axis=1) / spread
    return missed


def _goal(rows: Prepared, layout: Layout, unit: int) -> Floats:
    parts: list[npt.NDArray[Any]] = [
        rows.numeric[:, np.array(layout.numeric_units, int) == unit],
        rows.ranked[:, np.array(layout.ranked_units, int) == unit],
    ]
    for column, own in enumerate(layout.code_units):
        if own == unit:
            codes = rows.codes[:, column]
            classes = layout.classes[column]
            parts.append(np.eye(classes)[np.where(codes < classes, codes, 2)])
    return np.concatenate(parts, axis=1).astype(np.float64)


def _hide(rows: Prepared, layout: Layout, unit: int) -> Prepared:
    """The rows with a column at its mean (numbers) or unknown (categories)."""
    numeric, ranked, codes = rows.numeric.copy(), rows.ranked.copy(), rows.codes.copy()
    numeric[:, np.array(layout.numeric_units, int) == unit] = 0
    ranked[:, np.array(layout.ranked_units, int) == unit] = 0
    codes[:, np.array(layout.code_units, int) == unit] = UNKNOWN
    return Prepared(numeric, ranked, codes)
