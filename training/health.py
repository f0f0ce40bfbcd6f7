"""How alive the codes are, how well they give columns back, and how they lie in the plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.schema import Column
from training.baselines import CLIP, Matrix, Numbers, Raw, RawMatrix, as_values, is_null, read
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
    `raw`. Columns that are constant or empty in `table` have no error and are left out.
    """
    matrix = raw.transform(table)
    returned = pca.inverse_transform(pca.transform(matrix))
    slices, found = raw.slices(), []
    for column in raw.schema.features:
        if column.name not in decoded:
            continue  # constant in training, so no model has it
        truth, guess = read(table, column), as_values(decoded[column.name], column)
        block, part = raw.blocks[column.name], returned[:, slices[column.name]]
        if isinstance(block, Numbers):
            errors = _number_errors(truth, guess, part, block, column)
        else:
            names = np.array([*block.positions, None], object)
            errors = _wrong(truth, [guess, names[part.argmax(axis=1)]], ~is_null(truth, column))
        if errors is not None:
            error, pca_error = (round(float(value), 4) for value in errors)
            found.append(
                ColumnError(
                    column=column.name, kind=str(column.kind), error=error, pca_error=pca_error
                )
            )
    return tuple(found)


def _number_errors(
    truth: Floats, guess: Floats, pca_part: Matrix, block: Numbers, column: Column
) -> Sequence[float] | None:
    if column.kind == "boolean":
        value = pca_part[:, 0] * block.deviation[0] + block.mean[0]
        present = np.isfinite(truth[:, 0])
        return _wrong(truth[:, 0] > 0.5, [guess[:, 0] > 0.5, value > 0.5], present)
    standard = block.standardise(truth)
    present = np.isfinite(standard)
    filled = np.where(present, standard, 0.0)
    count = np.maximum(present.sum(axis=0), 1)
    mean = filled.sum(axis=0) / count
    spread = np.where(present, filled - mean, 0.0)
    variance = (spread**2).sum()
    if variance <= 0:
        return None
    standard_guess = np.nan_to_num(block.standardise(guess), nan=CLIP)
    guesses = (standard_guess, pca_part[:, : standard.shape[1]])
    return [
        float((np.where(present, filled - other, 0.0) ** 2).sum() / variance) for other in guesses
    ]


def _wrong(truth: Raw, guesses: Sequence[Raw], present: Bools) -> Sequence[float] | None:
    values = truth[present]
    _, counts = np.unique(values, return_counts=True)
    if len(counts) < 2:
        return None
    commonest_wrong = 1 - counts.max() / counts.sum()
    return [float(np.mean(values != guess[present]) / commonest_wrong) for guess in guesses]


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
