"""Rows that a model must survive: whatever a schema allows and a table will one day hold.

They are made in the space of the model's inputs, not of Arrow, because that is what a foreign
client feeds; a prologue that overflows, or answers NaN, is caught here and not in production.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.feed import NULL_INT, NULL_TEXT
from pipeline.schema import Column, FeatureSchema

Feeds = dict[str, npt.NDArray[Any]]

SINGLE_CHANGES = 512

_INT_MAX = int(np.iinfo(np.int64).max)
_YEAR_1, _YEAR_9999 = -62_135_596_800_000_000, 253_402_300_799_999_999  # microseconds since 1970

# The first value of each list is the column's null.
_NUMBERS = (np.nan, np.inf, -np.inf, 1e38, -1e38, 1e300, -1e300, 0.0, -0.0, 5e-324)
_INTEGERS = (2.0**63, -(2.0**63), 2.0**53 + 2, -1.0)
_TIMES = (NULL_INT, NULL_INT + 1, _INT_MAX, 0, -1, _YEAR_1, _YEAR_9999, 951_782_400_000_000)
_TEXTS = (NULL_TEXT, "never seen", "日本語", "é", "e\u0301", "🦜", " ", "None", "nan", "x" * 5000)
_LABELS = (NULL_INT, _INT_MAX, NULL_INT + 1, 0, -1, 2**53 + 1)
_ELEMENTS = (np.nan, np.inf, -np.inf, 1e38, -1e38, 0.0, 1e-45)


def adversarial_rows(schema: FeatureSchema, ordinary: Mapping[str, npt.NDArray[Any]]) -> Feeds:
    """Model inputs that hold every extreme of every column, by column name.

    First one row of nulls only; then each extreme in all columns at once; then all extremes in
    changing company; then `ordinary` rows with one cell changed each. The count is odd.
    """
    columns = schema.features
    extremes = {column.name: extreme_values(column) for column in columns}
    plan = _plan([len(extremes[column.name]) for column in columns])
    feeds = {}
    for place, column in enumerate(columns):
        picked, values = plan[:, place], extremes[column.name]
        base = _repeated(ordinary[column.name], values, len(plan))
        keep = (picked < 0).reshape(-1, *[1] * (values.ndim - 1))
        feeds[column.name] = np.where(keep, base, values[picked])
    return feeds


def extreme_values(column: Column) -> npt.NDArray[Any]:
    """The extremes of one column, its null first; vectors are [extremes, length]."""
    if column.kind == "boolean":
        return np.array([np.nan, 0.0, 1.0])
    if column.kind == "number":
        return np.array(_NUMBERS + _INTEGERS)
    if column.kind == "timestamp":
        return np.array(_TIMES, np.int64)
    if column.kind == "category":
        return np.array(_TEXTS, object) if "string" in column.type else np.array(_LABELS, np.int64)
    whole = np.repeat(np.array(_ELEMENTS, np.float32)[:, None], int(column.length or 0), axis=1)
    mixed = np.resize(np.array(_ELEMENTS, np.float32), whole.shape[1])
    return np.vstack([whole, mixed])


def _plan(counts: list[int]) -> npt.NDArray[np.int64]:
    """[rows, columns]: which extreme each cell holds, -1 for the ordinary value."""
    steps, places, each = np.arange(max(counts))[:, None], np.arange(len(counts)), np.array(counts)
    together = steps % each
    mixed = (steps + places) % each
    cells = [(place, step) for place, count in enumerate(counts) for step in range(count)]
    kept = cells[:: -(-len(cells) // SINGLE_CHANGES)]
    single = np.full((len(kept), len(counts)), -1)
    for row, (place, step) in enumerate(kept):
        single[row, place] = step
    plan = np.concatenate([together, mixed, single])
    return plan if len(plan) % 2 else plan[:-1]


def _repeated(ordinary: npt.NDArray[Any], values: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """`count` rows taken from `ordinary` in turn; the last extreme where there are none."""
    rows = ordinary if len(ordinary) else values[-1:]
    return rows[np.arange(count) % len(rows)].astype(values.dtype, copy=False)
