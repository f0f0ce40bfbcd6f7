"""Categories: values become codes, by falling frequency.

Code 0 is a value never seen, 1 is null, 2 is a value seen too rarely to be kept, and the kept
values follow from 3. There is no code below 0: Gather would wrap it to the last row silently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from pydantic import TypeAdapter

from pipeline.errors import DataError
from pipeline.feed import NULL_INT, NULL_TEXT
from pipeline.graph import INT64, STRING, GraphBuilder

UNKNOWN, NULL, RARE, FIRST = 0, 1, 2, 3
MAX_KEYS = 65_536
ENOUGH = 20
MAX_CLASSES = 256
RARE_TEXT = "<rare>"
_MAX_COUNTED = 8 * MAX_KEYS

Value = str | int


@dataclass(frozen=True)
class Category:
    """The fitted values of one category column, most frequent first.

    `shares` are those of the training rows: null, rare, then each class of a kept value.
    """

    column: str
    text: bool
    kept: tuple[Value, ...]
    rare: tuple[Value, ...]
    shares: tuple[float, ...] = ()

    @property
    def cardinality(self) -> int:
        """Number of codes, the three special ones included."""
        return FIRST + len(self.kept)

    @property
    def classes(self) -> int:
        """Number of codes that a reconstruction tells apart; codes beyond count as rare."""
        return min(self.cardinality, MAX_CLASSES)

    @property
    def null(self) -> Value:
        """The token that stands for null in this column's input."""
        return NULL_TEXT if self.text else NULL_INT


class CategoryFit:
    """Counts the values of category columns; the count of the rarest is cut where memory ends."""

    def __init__(self, names: Sequence[str], text: Sequence[bool]) -> None:
        self._names, self._text = names, text
        self._counts: list[Counter[Value]] = [Counter() for _ in names]
        self._valid = [0 for _ in names]
        self._rows = 0

    def add(self, arrays: Sequence[pa.Array]) -> None:
        """Take in the columns of one batch."""
        self._rows += len(arrays[0]) if arrays else 0
        columns = zip(self._names, self._counts, arrays, strict=True)
        for place, (name, counter, array) in enumerate(columns):
            for value, count in _value_counts(name, array):
                counter[value] += count
                self._valid[place] += count
            if len(counter) > _MAX_COUNTED:
                kept = counter.most_common(_MAX_COUNTED // 2)
                counter.clear()
                counter.update(dict(kept))

    def finish(self) -> Categories:
        """The fitted transforms.

        A value seen once is rare, and so is one seen fewer than `ENOUGH` times and less than once
        in 10,000 rows.
        """
        least = max(2, min(ENOUGH, -(-self._rows // 10_000)))
        return Categories(
            tuple(
                self._with_shares(place, _category(name, text, self._counts[place], least))
                for place, (name, text) in enumerate(zip(self._names, self._text, strict=True))
            )
        )

    def _with_shares(self, place: int, category: Category) -> Category:
        """The shares of all classes; what is told apart by no class of its own is rare."""
        rows, counts = max(1, self._rows), self._counts[place]
        own = [counts[value] for value in category.kept[: category.classes - FIRST]]
        found = [self._rows - self._valid[place], self._valid[place] - sum(own), *own]
        return replace(category, shares=tuple(count / rows for count in found))

    def distinct(self, index: int) -> int:
        """Number of different values counted in one column, nulls left out."""
        return len(self._counts[index])


def _value_counts(name: str, array: pa.Array) -> list[tuple[Value, int]]:
    if pt.is_null(array.type):
        return []
    try:
        counts = pc.value_counts(
            array.dictionary_decode() if pt.is_dictionary(array.type) else array
        )
        values, sizes = counts.field(0).to_pylist(), counts.field(1).to_pylist()
    except UnicodeDecodeError:
        raise DataError(f"column '{name}' holds text that is not UTF-8; re-encode it") from None
    return [(v, n) for v, n in zip(values, sizes, strict=True) if v is not None and v != NULL_TEXT]


def _category(name: str, text: bool, counter: Counter[Value], least: int) -> Category:
    # Ties are broken by the value, so that the order of the rows does not matter.
    ordered = sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:MAX_KEYS]
    return Category(
        column=name,
        text=text,
        kept=tuple(value for value, count in ordered if count >= least),
        rare=tuple(value for value, count in ordered if count < least),
    )


@dataclass(frozen=True)
class Categories:
    """The fitted category columns, in schema order."""

    columns: tuple[Category, ...]

    def lookup(self, g: GraphBuilder, category: Category, values: str) -> str:
        """Add the op from raw values [n] to codes int64 [n]."""
        keys = [category.null, *category.rare, *category.kept]
        codes = [NULL, *[RARE] * len(category.rare), *range(FIRST, category.cardinality)]
        kind = "keys_strings" if category.text else "keys_int64s"
        return g(
            "LabelEncoder",
            values,
            domain="ai.onnx.ml",
            **{kind: keys},
            values_int64s=codes,
            default_int64=UNKNOWN,
        )

    def inverse(self, g: GraphBuilder, logits: str) -> None:
        """Add outputs by column name from `logits` f32 [N, sum of classes]: the likeliest value."""
        place = 0
        for category in self.columns:
            columns = g.constant(np.arange(place + NULL, place + category.classes), np.int64)
            own = g("Gather", logits, columns, axis=1)
            code = g("Add", g("ArgMax", own, axis=1, keepdims=0), g.constant(NULL, np.int64))
            shown: list[Value] = [category.null, RARE_TEXT if category.text else NULL_INT]
            shown += category.kept[: category.classes - FIRST]
            out = {"values_strings" if category.text else "values_int64s": shown}
            default = (
                {"default_string": NULL_TEXT} if category.text else {"default_int64": NULL_INT}
            )
            keys = list(range(NULL, category.classes))
            value = g("LabelEncoder", code, domain="ai.onnx.ml", keys_int64s=keys, **out, **default)
            g.output(value, category.column, STRING if category.text else INT64, ["batch"])
            place += category.classes

    def to_json(self) -> list[dict[str, Any]]:
        """The fitted values as plain data."""
        return [asdict(column) for column in self.columns]

    @classmethod
    def from_json(cls, data: list[dict[str, Any]]) -> Categories:
        """The transforms that `to_json` described."""
        return cls(tuple(TypeAdapter(Category).validate_python(column) for column in data))
