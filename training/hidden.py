"""How well codes predict columns they were not shown: the measure of an embedding without a label.

A column is blanked in the input, the rest is encoded, and ridge regression predicts the column
from the code. Categories are predicted as one-hot columns, so that every column has an R².
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.schema import Column
from training.baselines import Matrix, Numbers, RawMatrix, read
from training.results import HiddenColumn, HiddenColumns
from training.scoring import resample, standard_error

MOST_HIDDEN = 16
MOST_ROWS = 5_000
RIDGE = 1.0
LEAST_SPREAD = 0.01
"""Share of the variance in training that test rows must have: R² of less is divided by nothing."""

Floats = npt.NDArray[np.float64]
Encode = Callable[[pa.Table], Matrix]


@dataclass(frozen=True)
class Cell:
    """What is hidden: a column, or one element of a vector column."""

    column: Column
    element: int = 0

    @property
    def name(self) -> str:
        """As the report shows it."""
        return f"{self.column.name}[{self.element}]" if self.column.length else self.column.name


def hidden_columns(
    train: pa.Table,
    test: pa.Table,
    *,
    raw: RawMatrix,
    embed: Encode,
    pca: Callable[[Matrix], Matrix],
    seed: int,
) -> HiddenColumns | None:
    """The embedding against PCA on at most 16 hidden columns; None when none varies in both tables.

    `embed` codes raw rows, `pca` rows of the matrix `raw`. At most 5,000 rows of each table count.
    """
    train, test = train.slice(0, MOST_ROWS), test.slice(0, MOST_ROWS)
    weights = resample(test.num_rows, seed=seed)
    found, leads = [], []
    for cell in _cells(raw, seed):
        goal = [_goal(table, cell, raw) for table in (train, test)]
        usual, spread = (_spread(values) for values in goal)
        if not usual or spread / test.num_rows < LEAST_SPREAD * usual / train.num_rows:
            continue
        blanked = [_blank(table, cell) for table in (train, test)]
        errors = [
            _errors(encode(blanked[0]), encode(blanked[1]), goal[0], goal[1])
            for encode in (embed, lambda table: pca(raw.transform(table)))
        ]
        own, other = (1 - float(e.sum()) / spread for e in errors)
        found.append(HiddenColumn(column=cell.name, embedding=round(own, 4), pca=round(other, 4)))
        leads.append(weights @ (errors[1] - errors[0]) / spread)
    if not found:
        return None
    lead = np.mean(leads, axis=0)
    return HiddenColumns(
        embedding=round(float(np.mean([c.embedding for c in found])), 4),
        pca=round(float(np.mean([c.pca for c in found])), 4),
        lead_points=round(100 * float(lead[0]), 3),
        standard_error=round(100 * standard_error(lead), 3),
        columns=tuple(found),
    )


def _cells(raw: RawMatrix, seed: int) -> list[Cell]:
    cells = []
    for column in raw.schema.features:
        length = column.length or 1
        spaced = np.unique(np.linspace(0, length - 1, min(length, MOST_HIDDEN)).astype(int))
        cells += [Cell(column, int(element)) for element in spaced]
    picked = np.random.default_rng(seed).permutation(len(cells))[:MOST_HIDDEN]
    return [cells[i] for i in sorted(picked)]


def _goal(table: pa.Table, cell: Cell, raw: RawMatrix) -> Floats:
    values, block = read(table, cell.column), raw.blocks[cell.column.name]
    if isinstance(block, Numbers):
        standard = block.standardise(values)[:, [cell.element]]
        return np.where(np.isfinite(standard), standard, np.nan)
    return np.eye(block.width)[block.codes(values)]


def _spread(goal: Floats) -> float:
    """Sum of squared distances from the mean, of the rows that have a value."""
    present = goal[np.isfinite(goal).all(axis=1)]
    return float(((present - present.mean(axis=0)) ** 2).sum()) if len(present) else 0.0


def _blank(table: pa.Table, cell: Cell) -> pa.Table:
    place, rows = table.column_names.index(cell.column.name), table.num_rows
    field = table.schema.field(place)
    if not cell.column.length:
        return table.set_column(place, field, pa.nulls(rows, field.type))
    values = read(table, cell.column).copy()
    values[:, cell.element] = np.nan
    flat = pa.array(values.astype(np.float32).ravel())
    return table.set_column(
        place, cell.column.name, pa.FixedSizeListArray.from_arrays(flat, cell.column.length)
    )


def _errors(train: Matrix, test: Matrix, goal: Floats, truth: Floats) -> Floats:
    """Squared error [rows] of ridge regression from codes to `truth`; 0 where that is missing."""
    mean, deviation = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    scaled = [(part - mean) / np.where(deviation > 0, deviation, 1.0) for part in (train, test)]
    known = np.isfinite(goal).all(axis=1)
    inputs, centre = scaled[0][known], goal[known].mean(axis=0)
    normal = inputs.T @ inputs + RIDGE * np.eye(inputs.shape[1])
    coefficients = np.linalg.solve(normal, inputs.T @ (goal[known] - centre))
    errors = ((truth - centre - scaled[1] @ coefficients) ** 2).sum(axis=1)
    return np.where(np.isfinite(errors), errors, 0.0)
