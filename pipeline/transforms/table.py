"""All transforms of a table, fitted together in one pass over its rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import SchemaError
from pipeline.feed import flat, to_numbers, to_timestamps, to_vectors
from pipeline.schema import Column, FeatureSchema
from pipeline.transforms.categories import Categories, CategoryFit
from pipeline.transforms.scalars import ScalarFit, Scalars
from pipeline.transforms.vectors import VectorFit, Vectors


class TableFit:
    """Accumulates the statistics of all feature columns in one pass, in bounded memory."""

    def __init__(self, schema: FeatureSchema) -> None:
        self._schema = schema
        self._rows = 0
        self._valid = dict.fromkeys((c.name for c in schema.features), 0)
        self._numbers = schema.by_kind("number", "boolean")
        self._times = schema.by_kind("timestamp")
        scalars = [*self._numbers, *self._times]
        self._scalars = ScalarFit([c.name for c in scalars], [str(c.kind) for c in scalars])
        self._categories = schema.by_kind("category")
        names = [c.name for c in self._categories]
        self._counts = CategoryFit(names, ["string" in c.type for c in self._categories])
        self._vectors = {
            c.name: VectorFit(c.name, int(c.length or 0), image=c.shape is not None)
            for c in self._lists()
        }

    def _lists(self) -> tuple[Column, ...]:
        return self._schema.by_kind("vector", "image")

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in the rows of a batch."""
        self._rows += batch.num_rows
        for column in self._schema.features:
            array = flat(batch, column.name)
            self._valid[column.name] += len(array) - array.null_count
        numbers = [to_numbers(flat(batch, c.name), c) for c in self._numbers]
        numbers += [_as_numbers(to_timestamps(flat(batch, c.name), c)) for c in self._times]
        if numbers:
            self._scalars.add(np.column_stack(numbers).astype(np.float64, copy=False))
        self._counts.add([flat(batch, c.name) for c in self._categories])
        for column in self._lists():
            self._vectors[column.name].add(to_vectors(flat(batch, column.name), column))

    def finish(self) -> tuple[Scalars, Categories, Vectors]:
        """The fitted transforms.

        Raises:
            SchemaError: if there were no rows, a column held only nulls, or all are constant.
        """
        if not self._rows:
            raise SchemaError("no rows to fit on: the table is empty")
        empty = [name for name, valid in self._valid.items() if not valid]
        if empty:
            several = len(empty) > 1
            raise SchemaError(
                f"column{'s' * several} {', '.join(map(repr, empty))} must hold values, "
                f"found only nulls in {self._rows:,} training rows; ignore "
                f"{'them or mend their' if several else 'it or mend its'} source"
            )
        vectors = Vectors(tuple(fit.finish() for fit in self._vectors.values()))
        scalars = self._scalars.finish()
        for image in self._schema.images:
            scalars = scalars.with_image(frozenset(image.columns))
        lists = any(any(vector.scale) or 0 < vector.missing < 1 for vector in vectors.columns)
        texts = any(map(self._varies, range(len(self._categories))))
        if not (scalars.views() or lists or texts):
            raise SchemaError(
                f"no usable feature: {', '.join(self._valid)} "
                f"hold{'s' * (len(self._valid) == 1)} one value only in all training rows"
            )
        return scalars, self._counts.finish(), vectors

    def _varies(self, category: int) -> bool:
        some_null = self._valid[self._categories[category].name] < self._rows
        return self._counts.distinct(category) + some_null > 1


def _as_numbers(micros: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.where(micros == np.iinfo(np.int64).min, np.nan, micros.astype(np.float64))
