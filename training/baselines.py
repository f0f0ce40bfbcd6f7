"""What an embedding is measured against: the raw columns, their PCA and kernel PCA, chance.

The raw matrix is fixed (DESIGN §10): numbers, booleans and times median-imputed, standardised and
clipped, with missing indicators; categories one-hot. It is fitted on the training rows alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.feed import NULL_INT, NULL_TEXT, flat, to_input
from pipeline.schema import Column, FeatureSchema
from pipeline.transforms.statistics import FARTHEST

CLIP = 5.0  # standard deviations
MOST_VALUES = 255  # of a category column get a column of their own
MOST_COLUMNS = 4_000  # one-hot columns over all categories

_EXACT_COLUMNS = 2_000  # up to here PCA is computed exactly, beyond by random projections
_LANDMARKS = 500  # rows that stand for all in kernel PCA
_DISTANCE_ROWS = 1_000  # whose distances give the width of its kernel

Matrix = npt.NDArray[np.float32]
Raw = npt.NDArray[Any]


@dataclass(frozen=True)
class Numbers:
    """A fitted number, boolean, time or vector column; arrays are [elements] float64."""

    median: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]
    deviation: npt.NDArray[np.float64]
    indicator: tuple[float, float] | None  # mean and deviation of "is missing"; None: never

    @property
    def width(self) -> int:
        """Columns in the matrix."""
        return len(self.mean) + (self.indicator is not None)

    def standardise(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Values [rows, elements] in standard deviations from the mean, clipped; NaN stays."""
        with np.errstate(invalid="ignore", over="ignore"):
            return np.clip((values - self.mean) / self.deviation, -CLIP, CLIP)

    def columns(self, values: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
        """The blocks of the matrix, each [rows, …], for values [rows, elements]."""
        missing = np.isnan(values)
        found = [self.standardise(np.where(missing, self.median, values))]
        if self.indicator is not None:
            mean, deviation = self.indicator
            hit = (missing.any(axis=1, keepdims=True) - mean) / deviation
            found.append(np.clip(hit, -CLIP, CLIP))
        return found


@dataclass(frozen=True)
class Categories:
    """A fitted category column: position of each frequent value; all others share the last."""

    positions: Mapping[Any, int]

    @property
    def width(self) -> int:
        """Columns in the matrix: one for each frequent value, one for all others."""
        return len(self.positions) + 1

    def codes(self, values: Raw) -> npt.NDArray[np.int64]:
        """The one-hot column [rows] int64 that each value belongs to."""
        unique, inverse = np.unique(values, return_inverse=True)
        other = len(self.positions)
        found = np.array([self.positions.get(v, other) for v in unique.tolist()], np.int64)
        return found[inverse] if len(found) else np.zeros(0, np.int64)


@dataclass(frozen=True)
class RawMatrix:
    """The fixed baseline's view of a table, fitted: a block of columns for each feature."""

    schema: FeatureSchema
    blocks: Mapping[str, Numbers | Categories]

    @property
    def width(self) -> int:
        """Columns of the matrix."""
        return sum(block.width for block in self.blocks.values())

    def slices(self) -> dict[str, slice]:
        """Where each feature's block of columns stands in the matrix."""
        found, start = {}, 0
        for name, block in self.blocks.items():
            found[name] = slice(start, start + block.width)
            start += block.width
        return found

    def transform(self, table: pa.Table) -> Matrix:
        """The rows of `table` as [rows, width] float32, finite everywhere."""
        matrix = np.zeros((table.num_rows, self.width), np.float32)
        for column in self.schema.features:
            part, block = self.slices()[column.name], self.blocks[column.name]
            values = read(table, column)
            if isinstance(block, Numbers):
                matrix[:, part] = np.concatenate(block.columns(values), axis=1)
            else:
                matrix[np.arange(len(values)), part.start + block.codes(values)] = 1
        return matrix


def fit_raw_matrix(table: pa.Table, schema: FeatureSchema) -> RawMatrix:
    """Medians, means, deviations and vocabularies of the feature columns of `table`."""
    categories = max(1, len(schema.by_kind("category")))
    most = min(MOST_VALUES, max(8, MOST_COLUMNS // categories))
    blocks: dict[str, Numbers | Categories] = {}
    for column in schema.features:
        values = read(table, column)
        blocks[column.name] = (
            _fit_categories(values, most) if column.kind == "category" else _fit_numbers(values)
        )
    return RawMatrix(schema, blocks)


def read(table: pa.Table, column: Column) -> Raw:
    """A feature column as [rows, elements] float64 with NaN for null, or as category values."""
    return as_values(to_input(flat(table, column.name), column), column)


def as_values(values: Raw, column: Column) -> Raw:
    """Model inputs or outputs of one column, brought to the form that `read` gives."""
    if column.kind == "category":
        return values
    numbers = values.astype(np.float64)
    if column.kind == "timestamp":
        numbers[values == NULL_INT] = np.nan
    return numbers.reshape(len(numbers), -1)


def is_null(values: Raw, column: Column) -> npt.NDArray[np.bool_]:
    """Which rows [rows] of what `read` gave are missing, for category columns."""
    token: Any = NULL_TEXT if "string" in column.type else NULL_INT
    return np.asarray(values == token, bool)


def _fit_numbers(values: npt.NDArray[np.float64]) -> Numbers:
    finite = np.where(np.abs(values) <= FARTHEST, values, np.nan)
    empty = np.isnan(finite).all(axis=0)
    median = np.nanmedian(np.where(empty, 0.0, finite), axis=0)
    filled = np.where(np.isnan(finite), median, finite)
    deviation = filled.std(axis=0)
    missing = np.isnan(values).any(axis=1)
    indicator = (float(missing.mean()), float(missing.std())) if 0 < missing.mean() < 1 else None
    return Numbers(median, filled.mean(axis=0), np.where(deviation > 0, deviation, 1.0), indicator)


def _fit_categories(values: Raw, most: int) -> Categories:
    unique, counts = np.unique(values, return_counts=True)
    frequent = unique[np.argsort(-counts, kind="stable")[:most]]
    return Categories({value: place for place, value in enumerate(frequent.tolist())})


def fit_pca(matrix: Matrix, *, dim: int, seed: int) -> Any:
    """scikit-learn's PCA with `dim` components, or as many as the matrix [rows, columns] has.

    Exact by the covariance's eigenvectors up to 2,000 columns, randomised beyond.
    """
    from sklearn.decomposition import PCA

    rows, columns = matrix.shape
    exact = columns <= _EXACT_COLUMNS
    solver = "covariance_eigh" if exact else "randomized"
    return PCA(min(dim, rows, columns), svd_solver=solver, random_state=seed).fit(matrix)


def fit_kernel_pca(matrix: Matrix, *, dim: int, seed: int) -> Any:
    """Kernel PCA of a Gaussian kernel, approximated: Nyström features, then their PCA.

    500 landmark rows (Williams & Seeger 2001); the kernel's width is the median distance between
    rows. A scikit-learn pipeline; its output has `dim` columns, or as many as the matrix
    [rows, columns] has rows.
    """
    from sklearn.decomposition import PCA
    from sklearn.kernel_approximation import Nystroem
    from sklearn.pipeline import make_pipeline

    landmarks = min(_LANDMARKS, len(matrix))
    distance = median_distance(matrix, seed=seed)
    gamma = 0.5 / max(distance, 1e-12) ** 2
    features = Nystroem(gamma=gamma, n_components=landmarks, random_state=seed)
    # Nyström's features have the kernel's covariance, so their components are those of the kernel.
    return make_pipeline(features, PCA(min(dim, landmarks), svd_solver="covariance_eigh")).fit(
        matrix
    )


def median_distance(matrix: Matrix, *, seed: int) -> float:
    """Median Euclidean distance between two rows of `matrix`, over pairs of 1,000 drawn rows.

    >>> median_distance(np.array([[0.0], [3.0]], np.float32), seed=0)
    3.0
    """
    from scipy.spatial.distance import pdist

    drawn = np.random.default_rng(seed).permutation(len(matrix))[:_DISTANCE_ROWS]
    return float(np.median(pdist(matrix[drawn])))


def random_projection(columns: int, *, dim: int, seed: int) -> Matrix:
    """A Gaussian matrix [columns, dim] that keeps distances on average (Johnson–Lindenstrauss)."""
    drawn = np.random.default_rng(seed).standard_normal((columns, dim))
    return np.asarray(drawn / np.sqrt(dim), np.float32)
