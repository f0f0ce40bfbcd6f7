"""The classes of a label that a decoder may be told: values become codes, 0 where not known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter

from pipeline.feed import NULL_TEXT
from pipeline.graph import DOUBLE, FLOAT, INT64, STRING, GraphBuilder

Taken = Literal["text", "integer", "number"]

NOT_KNOWN = 0
_TYPES = {"text": STRING, "integer": INT64, "number": DOUBLE}


@dataclass(frozen=True)
class Classes:
    """The values of one label in the order of their codes, which start from 1.

    `taken` is how a model takes the label: text, int64 (integer categories) or float64 (numbers
    and booleans). Nulls and values never seen have code 0, and so have texts that are empty here:
    places of values that training did not have.
    """

    column: str
    taken: Taken
    values: tuple[str | int | float, ...]

    @property
    def numbers(self) -> tuple[float, ...]:
        """What stands for each class beside the prepared rows: its value, or a text's place.

        NaN for an empty text, which is the same as null.
        """
        if self.taken == "text":
            return tuple(
                float("nan") if value == NULL_TEXT else float(place)
                for place, value in enumerate(self.values)
            )
        return tuple(float(value) for value in self.values)

    def lookup(self, g: GraphBuilder) -> str:
        """Add the label as an input by its name, [N], and the ops to its codes int64 [N]."""
        values = g.input(self.column, _TYPES[self.taken], ["batch"])
        codes = range(NOT_KNOWN + 1, NOT_KNOWN + 1 + len(self.values))
        if self.taken == "text":
            known = [(v, code) for v, code in zip(self.values, codes, strict=True) if v]
            return g(
                "LabelEncoder",
                values,
                domain="ai.onnx.ml",
                keys_strings=[value for value, _ in known],
                values_int64s=[code for _, code in known],
                default_int64=NOT_KNOWN,
            )
        dtype = np.int64 if self.taken == "integer" else np.float64
        column = g("Unsqueeze", values, g.constant([1], np.int64))
        same = g("Cast", g("Equal", column, g.constant([self.values], dtype)), to=FLOAT)
        coded = g("Mul", same, g.constant([list(codes)], np.float32))
        total = g("ReduceSum", coded, g.constant([1], np.int64), keepdims=0)
        return g("Cast", total, to=INT64)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Classes:
        """The classes that `dataclasses.asdict` described."""
        return TypeAdapter(cls).validate_python(data)
