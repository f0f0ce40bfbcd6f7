"""How alive the codes are, how well they give columns back, and how they lie in the plane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.feed import NULL_INT, NULL_TEXT
from pipeline.schema import Column
from training.baselines import (
    CLIP,
    Categories,
    Matrix,
    Numbers,
    Raw,
    RawMatrix,
    as_values,
    is_null,
    read,
)
from training.results import ColumnError, LatentHealth, Map
from training.rows import Target

ACTIVE_VARIANCE = 0.01  # of a code standardised to variance 1 (Burda et al. 2016 use the same)
MAP_POINTS = 2_000

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def latent_health(embedding: Matrix, inputs: Matrix) -> LatentHealth:
    """Health of codes [rows, dim] whose raw matrix is `inputs` [rows, columns]."""
    codes = embedding.astype(np.float64)
    variance = codes.var(axis=0)
    active = variance > ACTIVE_VARIANCE
    alive = codes[:, active]
    strongest = 0.0
    if alive.shape[1] > 1:
        correlation = np.abs(np.asarray(np.corrcoef(alive, rowvar=False), np.float64))
        np.fill_diagonal(correlation, 0)
        strongest = float(correlation.max())
    return LatentHealth(
        dim=codes.shape[1],
        active_units=int(active.sum()),
        max_correlation=round(strongest, 4),
        least_variance=round(float(variance.min()), 4),
        greatest_variance=round(float(variance.max()), 4),
        merged_rows=max(0, _distinct(inputs) - _distinct(embedding)),
    )


def _distinct(matrix: Matrix) -> int:
    rows = np.ascontiguousarray(matrix).view([("", np.void, matrix.shape[1] * matrix.itemsize)])
    return len(set(rows.ravel().tolist()))


def reconstruction(
    table: pa.Table, decoded: Mapping[str, Raw], raw: RawMatrix, pca: Any
) -> tuple[ColumnError, ...]:
    """Error of every feature column of `table`, for the decoder's output and for PCA's inverse.

    `decoded` holds raw columns by name, as ``decoder.onnx`` gives them; `pca` was fitted on
    `raw`. Errors are relative to always guessing the mean or commonest value of the training
    rows; columns where that guess is right everywhere are left out.
    """
    returned = pca.inverse_transform(pca.transform(raw.transform(table)))
    slices, found = raw.slices(), []
    for column in raw.schema.features:
        if column.name not in decoded:
            continue  # constant in training, so no model has it
        truth, guess = read(table, column), as_values(decoded[column.name], column)
        block, part = raw.blocks[column.name], returned[:, slices[column.name]]
        errors = (
            _number_errors(truth, guess, part, block, column)
            if isinstance(block, Numbers)
            else _category_errors(truth, guess, part, block, column)
        )
        if errors is not None:
            own, other = (round(error, 4) for error in errors)
            found.append(
                ColumnError(column=column.name, kind=str(column.kind), error=own, pca_error=other)
            )
    return tuple(found)


def _number_errors(
    truth: Floats, guess: Floats, pca_part: Matrix, block: Numbers, column: Column
) -> tuple[float, float] | None:
    if column.kind == "boolean":
        value = pca_part[:, 0] * block.deviation[0] + block.mean[0]
        guesses = (guess[:, 0] > 0.5, value > 0.5)
        known = np.isfinite(truth[:, 0])
        return _wrong(truth[:, 0] > 0.5, guesses, known, commonest=block.mean[0] > 0.5)
    standard = block.standardise(truth)
    present = np.isfinite(standard)
    baseline = float((np.where(present, standard, 0.0) ** 2).sum())
    if baseline <= 0:
        return None

    def error(other: Floats) -> float:
        return float((np.where(present, standard - other, 0.0) ** 2).sum()) / baseline

    own = np.nan_to_num(block.standardise(guess), nan=CLIP)
    return error(own), error(pca_part[:, : standard.shape[1]].astype(np.float64))


def _category_errors(
    truth: Raw, guess: Raw, pca_part: Matrix, block: Categories, column: Column
) -> tuple[float, float] | None:
    names = np.array([*block.positions, None], object)
    commonest = next((n for n in block.positions if n not in (NULL_TEXT, NULL_INT)), None)
    guesses = (guess, names[pca_part.argmax(axis=1)])
    return _wrong(truth, guesses, ~is_null(truth, column), commonest=commonest)


def _wrong(
    truth: Raw, guesses: tuple[Raw, Raw], known: Bools, *, commonest: Any
) -> tuple[float, float] | None:
    values = truth[known]
    baseline = float(np.mean(values != commonest)) if len(values) else 0.0
    if baseline <= 0:
        return None
    own, other = (float(np.mean(values != guess[known])) / baseline for guess in guesses)
    return own, other


def project(train: Matrix, test: Matrix, target: Target | None, *, seed: int) -> Map:
    """Test codes [rows, dim] along two directions, at most 2,000 rows of them.

    With a label the first directions are those that tell it apart best on the training rows
    (Fisher's discriminant; ridge for numbers), so the test rows show whether that holds for rows
    never seen. What is missing to two is filled with principal axes of what is left.
    """
    picked = np.sort(np.random.default_rng(seed).permutation(len(test))[:MAP_POINTS])
    told = (
        _telling_directions(train, target) if target is not None else np.zeros((train.shape[1], 0))
    )
    directions = _completed(told, train)
    points = (test[picked] - train.mean(axis=0)) @ directions
    names = [f"direction {i + 1} that tells the label" for i in range(told.shape[1])]
    if told.shape[1] == 1:
        names = ["direction that tells the label"]
    rest = "principal axis of the embedding" if not names else "strongest direction besides"
    names += [f"{rest}" if names else f"{rest} {i + 1}" for i in range(2 - len(names))]
    x, y = (tuple(round(float(v), 4) for v in points[:, axis]) for axis in (0, 1))
    label = None if target is None else tuple(round(float(v), 6) for v in target.test[picked])
    return Map(axes=(names[0], names[1]), x=x, y=y, label=label)


def _telling_directions(codes: Matrix, target: Target) -> Floats:
    if target.task == "numbers":
        from sklearn.linear_model import Ridge

        found = Ridge().fit(codes, target.train).coef_[:, None]
    else:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        model = LinearDiscriminantAnalysis(solver="eigen", shrinkage=1e-3)
        found = model.fit(codes, target.train).scalings_[:, : min(2, len(target.classes) - 1)]
    directions, _ = np.linalg.qr(np.asarray(found, np.float64))
    return np.asarray(directions, np.float64)


def _completed(directions: Floats, codes: Matrix) -> Floats:
    """Two orthonormal columns [dim, 2] (or a zero one for dim 1), the given ones first."""
    centred = codes - codes.mean(axis=0, dtype=np.float64)
    left = centred - centred @ directions @ directions.T
    _, axes = np.linalg.eigh(left.T @ left)
    filled = np.concatenate([directions, axes[:, ::-1]], axis=1)[:, :2]
    return filled if filled.shape[1] == 2 else np.pad(filled, ((0, 0), (0, 1)))
