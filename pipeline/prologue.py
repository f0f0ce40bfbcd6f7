"""The prologue: all preprocessing as one fitted ONNX graph, from raw columns to a matrix.

Training runs this graph through ONNX Runtime to get its matrix, and export puts the very same
graph in front of the encoder. There is no second implementation that could drift.

::

    columns ──► blocks ────────────────────► numeric [N, D]   standardised values, cycles,
    by name     numbers    f64 [F, N]                         missing-indicators, vectors
                timestamps i64 [T, N]        ranked  [N, R]   rank-gauss view of the numbers
                codes      i64 [C, N]  ────► codes   [N, C]   0 unknown, 1 null, 2 rare, 3…
                vectors    f32 [N, L]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import pyarrow as pa

from pipeline.config import Kind
from pipeline.feed import (
    CODES,
    NUMBERS,
    TIMESTAMPS,
    codes_output,
    feed,
)
from pipeline.graph import DOUBLE, FLOAT, INT64, STRING, GraphBuilder
from pipeline.runs import rows_per_run_of
from pipeline.runtime import Session
from pipeline.schema import Column, FeatureSchema
from pipeline.transforms import Categories, Classes, Scalars, TableFit, Vectors

# Outputs; the prefix keeps them apart from columns, which may be called "numeric".
NUMERIC, RANKED, CODED = "p2v/prepared/numeric", "p2v/prepared/ranked", "p2v/prepared/codes"


class Slot(NamedTuple):
    """What one column of a prepared matrix holds."""

    column: str
    kind: Kind
    view: str
    element: int = 0


class Prepared(NamedTuple):
    """Rows after the prologue: float32 [N, D], float32 [N, R] and int64 [N, C]."""

    numeric: npt.NDArray[np.float32]
    ranked: npt.NDArray[np.float32]
    codes: npt.NDArray[np.int64]


class Prologue:
    """The fitted preprocessing of one table.

    `label` has the classes of a label where a decoder is told them; no graph of rows reads it.
    """

    def __init__(
        self,
        schema: FeatureSchema,
        scalars: Scalars,
        categories: Categories,
        vectors: Vectors,
        label: Classes | None = None,
    ) -> None:
        self.schema, self.label = schema, label
        self.scalars, self.categories, self.vectors = scalars, categories, vectors

    @classmethod
    def fit(cls, batches: Iterable[pa.RecordBatch], schema: FeatureSchema) -> Prologue:
        """Fit all transforms in one pass over `batches`, in bounded memory.

        Raises:
            SchemaError: if there are no rows, or a feature column holds nothing but nulls.
        """
        fit = TableFit(schema)
        for batch in batches:
            fit.add(batch)
        return cls(schema, *fit.finish())

    @cached_property
    def numeric_slots(self) -> tuple[Slot, ...]:
        """What each of the D columns of ``numeric`` holds."""
        scalars = [Slot(c.column, _kind(c.kind), view) for c, view in self.scalars.views()]
        marks = [Slot(v.column, "vector", "missing") for v in self._nullable_vectors]
        elements = [
            Slot(v.column, "vector", "value", i)
            for v in self.vectors.columns
            for i in range(v.length)
        ]
        return tuple(scalars + marks + elements)

    @cached_property
    def ranked_slots(self) -> tuple[Slot, ...]:
        """What each of the R columns of ``ranked`` holds."""
        columns = [self.scalars.columns[i] for i in self.scalars.ranked]
        return tuple(Slot(c.column, _kind(c.kind), "ranked") for c in columns)

    @property
    def code_columns(self) -> tuple[str, ...]:
        """The category columns, in the order of ``codes``."""
        return tuple(c.column for c in self.categories.columns)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of codes of each category column."""
        return tuple(c.cardinality for c in self.categories.columns)

    @property
    def classes(self) -> tuple[int, ...]:
        """Number of classes that a reconstruction of each category column tells apart."""
        return tuple(c.classes for c in self.categories.columns)

    @property
    def number_columns(self) -> tuple[Column, ...]:
        """The columns of the block ``numbers``, in its order."""
        return self.schema.by_kind("number", "boolean")

    @property
    def _nullable_vectors(self) -> list[Any]:
        return [v for v in self.vectors.columns if 0 < v.missing < 1]

    @cached_property
    def _session(self) -> tuple[Session, int]:
        model = self.to_model().SerializeToString()
        # Otherwise a run asks the heap for aligned arrays, and glibc before 2.38 cannot use the gap
        # of one again when something small and lasting lies beside it: the heap grew by half a
        # gigabyte in a million rows.
        return Session(model, keeps_memory=True), rows_per_run_of(model)

    def run(self, batch: pa.RecordBatch | pa.Table) -> Prepared:
        """The prepared rows of `batch`, through ONNX Runtime."""
        rows = batch.num_rows
        prepared = Prepared(
            np.empty((rows, len(self.numeric_slots)), np.float32),
            np.empty((rows, len(self.ranked_slots)), np.float32),
            np.empty((rows, len(self.code_columns)), np.int64),
        )
        first = 0
        for run in self.runs(batch):
            part = slice(first, first := first + len(run.numeric))
            prepared.numeric[part] = run.numeric
            prepared.ranked[part] = run.ranked
            prepared.codes[part] = run.codes
        return prepared

    def runs(self, batch: pa.RecordBatch | pa.Table) -> Iterator[Prepared]:
        """The same in pieces of so few rows that what a run makes of them stays in the cache."""
        session, rows_per_run = self._session
        inputs = feed(batch, self.schema)
        for first in range(0, max(1, batch.num_rows), rows_per_run):
            some = {name: values[first : first + rows_per_run] for name, values in inputs.items()}
            found = dict(zip(session.outputs, session.run(session.outputs, some), strict=True))
            rows = min(rows_per_run, batch.num_rows - first)
            yield Prepared(
                found.get(NUMERIC, np.empty((rows, 0), np.float32)),
                found.get(RANKED, np.empty((rows, 0), np.float32)),
                found.get(CODED, np.empty((rows, 0), np.int64)),
            )

    def to_model(self) -> onnx.ModelProto:
        """Raw columns by name → the three matrices, ``p2v/prepared/…``, that are not empty."""
        g = GraphBuilder()
        numbers = [g.input(c.name, DOUBLE, ["batch"]) for c in self.number_columns]
        times = [g.input(c.name, INT64, ["batch"]) for c in self.schema.by_kind("timestamp")]
        codes = [
            self.categories.lookup(g, c, g.input(c.column, STRING if c.text else INT64, ["batch"]))
            for c in self.categories.columns
        ]
        vectors = [g.input(v.column, FLOAT, ["batch", v.length]) for v in self.vectors.columns]
        stacked = [g.stack(names) if names else None for names in (numbers, times, codes)]
        self._body(g, stacked[0], stacked[1], stacked[2], vectors)
        return g.model("prologue")

    def body_model(self) -> onnx.ModelProto:
        """Blocks → the same three matrices: `to_model` without its strings.

        Inputs: ``p2v/numbers`` f64 [F, N], ``p2v/timestamps`` i64 [T, N], ``p2v/codes`` i64
        [C, N] and every vector column by name, f32 [N, L]; those that are not empty.
        """
        g = GraphBuilder()
        blocks = (
            (NUMBERS, DOUBLE, len(self.number_columns)),
            (TIMESTAMPS, INT64, len(self.schema.by_kind("timestamp"))),
            (CODES, INT64, len(self.categories.columns)),
        )
        named = [
            g.input(name, dtype, [rows, "batch"]) if rows else None for name, dtype, rows in blocks
        ]
        vectors = [g.input(v.column, FLOAT, ["batch", v.length]) for v in self.vectors.columns]
        self._body(g, named[0], named[1], named[2], vectors)
        return g.model("body")

    def lookup_model(self) -> onnx.ModelProto | None:
        """Category columns by name → ``p2v/codes/NAME`` int64, each of a length of its own."""
        if not self.categories.columns:
            return None
        g = GraphBuilder()
        for place, category in enumerate(self.categories.columns):
            rows = [f"rows_{place}"]
            values = g.input(category.column, STRING if category.text else INT64, rows)
            g.output(
                self.categories.lookup(g, category, values),
                codes_output(category.column),
                INT64,
                rows,
            )
        return g.model("lookup")

    def inverse_model(self) -> onnx.ModelProto:
        """``numeric`` f32 [N, D] and ``logits`` f32 [N, sum of classes] → raw columns by name."""
        g = GraphBuilder()
        width = len(self.numeric_slots)
        slots = self.numeric_slots
        values = {s.column: i for i, s in enumerate(slots) if s.view == "value" and not s.element}
        if width:
            numeric = g.input("p2v/numeric", FLOAT, ["batch", width])
            self.scalars.inverse(g, numeric, values)
            self.vectors.inverse(g, numeric, values)
        if self.categories.columns:
            logits = g.input("p2v/logits", FLOAT, ["batch", sum(self.classes)])
            self.categories.inverse(g, logits)
        return g.model("inverse")

    def _body(
        self,
        g: GraphBuilder,
        numbers: str | None,
        times: str | None,
        codes: str | None,
        vectors: list[str],
    ) -> None:
        views, ranked = self.scalars.forward(g, numbers, times) if numbers or times else ("", "")
        rows = [g("Transpose", views, perm=[1, 0])] if views else []
        pairs = [
            self.vectors.forward(g, vector, name)
            for vector, name in zip(self.vectors.columns, vectors, strict=True)
        ]
        rows += [mark for _, mark in pairs if mark] + [view for view, _ in pairs]
        if rows:
            width = len(self.numeric_slots)
            g.output(g.concat(rows, axis=1), NUMERIC, FLOAT, ["batch", width])
        if ranked:
            width = len(self.ranked_slots)
            g.output(g("Transpose", ranked, perm=[1, 0]), RANKED, FLOAT, ["batch", width])
        if codes:
            width = len(self.code_columns)
            g.output(g("Transpose", codes, perm=[1, 0]), CODED, INT64, ["batch", width])

    def to_json(self) -> dict[str, Any]:
        """Everything that was fitted, as plain data."""
        return {
            "schema": self.schema.model_dump(mode="json"),
            "scalars": self.scalars.to_json(),
            "categories": self.categories.to_json(),
            "vectors": self.vectors.to_json(),
            "label": None if self.label is None else asdict(self.label),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Prologue:
        """The prologue that `to_json` described."""
        return cls(
            FeatureSchema.model_validate(data["schema"]),
            Scalars.from_json(data["scalars"]),
            Categories.from_json(data["categories"]),
            Vectors.from_json(data["vectors"]),
            # Bundles from before there were conditions say nothing of it.
            None if data.get("label") is None else Classes.from_json(data["label"]),
        )


def _kind(text: str) -> Kind:
    kinds: dict[str, Kind] = {"number": "number", "boolean": "boolean", "timestamp": "timestamp"}
    return kinds[text]
