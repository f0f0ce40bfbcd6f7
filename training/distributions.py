"""How alike two samples of one column are, and the rank correlations of two columns of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config import Config
from pipeline.schema import Column, FeatureSchema
from training.baselines import Categories, Matrix, Numbers, RawMatrix, is_null, read

MOST_PAIRED = 40
BINS = 20
MOST_VALUES = 8

_OTHERS = "others"

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


def column_likeness(column: Column, real: pa.Table, drawn: pa.Table) -> ColumnLikeness:
    """How alike one feature is in two tables."""
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


def correlations(
    raw: RawMatrix, schema: FeatureSchema, real: pa.Table, drawn: pa.Table
) -> tuple[tuple[str, ...], Floats, Floats]:
    """Names of at most 40 columns of the raw matrix, and their rank correlations in two tables."""
    tables = [raw.transform(table) for table in (real, drawn)]
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


def correlation_gap(real: Floats, drawn: Floats) -> float:
    """Mean absolute difference of the correlations of two different columns."""
    others = ~np.eye(len(real), dtype=bool)
    return float(np.abs(real - drawn)[others].mean()) if len(real) > 1 else 0.0
