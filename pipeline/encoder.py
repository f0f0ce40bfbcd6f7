"""The hot path: record batches in, vectors out.

The batch engine runs ``lookup.onnx`` on the distinct strings of a column only, and feeds codes to
``core.onnx``: strings never become an array of rows. The result is bit-identical to
``encoder.onnx``, which the export gate checks.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from pipeline import arrow
from pipeline.bundle import Bundle
from pipeline.errors import DataError, SchemaError
from pipeline.feed import CODES, NUMBERS, TIMESTAMPS, codes_output, feed, flat, to_input
from pipeline.runs import rows_per_run, rows_per_run_of
from pipeline.runtime import Session
from pipeline.schema import Column, FeatureSchema, differences
from pipeline.values import find_problem

_NULL_CODE = 1
_LARGEST_TILE = 16 * 2**20
_RUNS_PER_TILE = 16

Embedding = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Inputs:
    """The feature columns of a batch as arrays, in the order of the schema within each kind.

    Shape:
        numbers (and booleans), times and codes are [rows] each, vectors [rows, length] by name.
    """

    rows: int
    numbers: list[npt.NDArray[Any]]
    times: list[npt.NDArray[np.int64]]
    codes: list[npt.NDArray[np.int64]]
    vectors: dict[str, npt.NDArray[np.float32]]


class Encoder:
    """The encoder of a bundle, ready to run; safe to share between threads."""

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        self.bundle = bundle
        self.schema: FeatureSchema = bundle.manifest.feature_schema
        self.dim: int = bundle.manifest.dim
        self.fingerprint: str = bundle.fingerprint
        self._core = Session(bundle.model("core.onnx"), threads=threads)
        strings = bundle.has("lookup.onnx")
        self._lookup = Session(bundle.model("lookup.onnx")) if strings else None
        self._numbers = self.schema.by_kind("number", "boolean")
        self._times = self.schema.by_kind("timestamp")
        self._categories = self.schema.by_kind("category")
        self._vectors = self.schema.by_kind("vector", "image")
        # What each thread looked up last, and the input of a column that needs no look-up.
        self._seen = threading.local()
        self._nothing = {c.name: to_input(pa.nulls(0), c) for c in self._categories}
        # Blocks have 8 bytes a cell, layers 4.
        block = 8 * max(len(self._numbers), len(self._times), len(self._categories))
        self._rows_per_run = rows_per_run(max(block, 4 * bundle.manifest.widest_layer))
        runs = _LARGEST_TILE // max(1, block * self._rows_per_run)
        self._runs_per_tile = max(1, min(_RUNS_PER_TILE, runs))

    @classmethod
    def open(cls, path: str | Path, *, threads: int = 1) -> Encoder:
        """The encoder of the bundle at `path`, after all its hashes were checked.

        `threads` are those inside ONNX Runtime; keep 1 when several callers run side by side.

        Raises:
            BundleError: if the bundle is missing or damaged.
        """
        return cls(Bundle.open(path), threads=threads)

    def transform(self, table: Any) -> Embedding:
        """The embedding of every row of `table`, float32 [rows, dim].

        `table` is a pyarrow Table or RecordBatch, a pandas or polars frame, or anything else that
        speaks the Arrow C stream protocol. Columns are found by name; extra ones are ignored.

        Raises:
            SchemaError: if a feature column is missing or of another kind.
            DataError: if a value cannot be represented; it names the column and the row.
        """
        arrow = as_table(table)
        problems = differences(self.schema, arrow.schema, roles=("feature", "condition"))
        if problems:
            raise SchemaError("; ".join(problems))
        names = [column.name for column in self.schema.features]
        batches = arrow.select(names).combine_chunks().to_batches(max_chunksize=65_536)
        row, found = 0, []
        for batch in batches:
            if found_problem := find_problem(batch, self.schema.features):
                name, problem = found_problem
                raise DataError(problem.told(name, first_row=row))
            found.append(self.encode(batch))
            row += batch.num_rows
        return np.concatenate(found) if found else np.empty((0, self.dim), np.float32)

    def encode(self, batch: pa.RecordBatch) -> Embedding:
        """The embedding of every row of a batch that keeps the contract, float32 [rows, dim]."""
        return self.encode_inputs(self.inputs(batch))

    def inputs(self, batch: pa.RecordBatch) -> Inputs:
        """The feature columns of a batch that keeps the contract, as arrays."""
        return Inputs(
            rows=batch.num_rows,
            numbers=[to_input(flat(batch, c.name), c) for c in self._numbers],
            times=[to_input(flat(batch, c.name), c) for c in self._times],
            codes=self._codes(batch),
            vectors={c.name: to_input(flat(batch, c.name), c) for c in self._vectors},
        )

    def encode_inputs(self, inputs: Inputs) -> Embedding:
        """The embedding of every row of `inputs`, float32 [rows, dim]."""
        found = np.empty((inputs.rows, self.dim), np.float32)
        for start, stop, count in _tiles(inputs.rows, self._rows_per_run, self._runs_per_tile):
            tiles = _tile(NUMBERS, inputs.numbers, start, stop, count, np.float64)
            tiles |= _tile(TIMESTAMPS, inputs.times, start, stop, count, np.int64)
            tiles |= _tile(CODES, inputs.codes, start, stop, count, np.int64)
            for place, first in enumerate(range(start, stop, count)):
                run = {name: tile[place] for name, tile in tiles.items()}
                rows = slice(first, first + count)
                run |= {name: values[rows] for name, values in inputs.vectors.items()}
                (found[rows],) = self._core.run(["embedding"], run)
        return found

    def _codes(self, batch: pa.RecordBatch) -> list[npt.NDArray[np.int64]]:
        """The codes of every category column, each int64 [rows].

        Only values of dictionaries that the batch before did not have are looked up: a row group
        has one dictionary for all its batches.
        """
        if self._lookup is None:
            return []
        encoded = {c.name: _encoded(flat(batch, c.name), c) for c in self._categories}
        known: dict[str, tuple[pa.Array, npt.NDArray[np.int64]]] = self._seen.__dict__
        new = [
            c
            for c in self._categories
            if c.name not in known or not known[c.name][0].equals(encoded[c.name].dictionary)
        ]
        if new:
            values = {c.name: to_input(encoded[c.name].dictionary, c) for c in new}
            tables = self._lookup.run([codes_output(c.name) for c in new], self._nothing | values)
            for column, table in zip(new, tables, strict=True):
                coded = np.append(table, _NULL_CODE)
                known[column.name] = (encoded[column.name].dictionary, coded)
        return [_mapped(array, known[name][1]) for name, array in encoded.items()]


class Scorer:
    """The scorer of a bundle: each row's reconstruction error."""

    def __init__(self, bundle: Bundle) -> None:
        self._schema = bundle.manifest.feature_schema
        audited = bundle.model("scorer.onnx")
        self._session = Session(audited)
        # The widest layer that the manifest knows is the encoder's; a decoder may have a wider one.
        self._rows_per_run = rows_per_run_of(audited)

    def score(self, batch: pa.RecordBatch) -> npt.NDArray[np.float32]:
        """The reconstruction error of every row, float32 [rows]."""
        return self.score_inputs(self.inputs(batch), rows=batch.num_rows)

    def inputs(self, batch: pa.RecordBatch) -> dict[str, npt.NDArray[Any]]:
        """The feature columns of a batch that keeps the contract, each [rows, …], by name."""
        return feed(batch, self._schema)

    def score_inputs(
        self, inputs: Mapping[str, npt.NDArray[Any]], *, rows: int
    ) -> npt.NDArray[np.float32]:
        """The reconstruction error of each of the `rows` rows of `inputs`, float32 [rows]."""
        found = np.empty(rows, np.float32)
        for first in range(0, rows, self._rows_per_run):
            part = slice(first, first + self._rows_per_run)
            run = {name: values[part] for name, values in inputs.items()}
            (found[part],) = self._session.run(["reconstruction_error"], run)
        return found


def as_table(table: Any) -> pa.Table:
    """`table` as a pyarrow Table, without a copy where the layouts allow it.

    Raises:
        DataError: if it is nothing that Arrow can read.
    """
    if isinstance(table, pa.Table):
        return table
    if isinstance(table, pa.RecordBatch):
        return pa.Table.from_batches([table])
    if not hasattr(table, "__arrow_c_stream__"):
        raise DataError(
            "a pyarrow Table or RecordBatch, or a pandas or polars frame is required, "
            f"found {type(table).__name__}"
        )
    try:
        return pa.table(table)
    except (pa.ArrowException, TypeError) as error:
        raise DataError(f"the frame cannot be read as an Arrow table: {error}") from None


def _tiles(rows: int, count: int, runs: int) -> Iterator[tuple[int, int, int]]:
    """Start and stop of each tile of `runs` runs, and the rows of each run; the rest comes last."""
    whole = rows - rows % count
    for start in range(0, whole, runs * count):
        yield start, min(start + runs * count, whole), count
    if whole < rows:
        yield whole, rows, rows - whole


def _tile(
    name: str, columns: list[npt.NDArray[Any]], start: int, stop: int, count: int, dtype: Any
) -> dict[str, npt.NDArray[Any]]:
    """The blocks of several runs, [runs, columns, count], filled column by column.

    A run reads too few rows of a column to read it fast: filling many blocks while the column is
    at hand takes half the time.
    """
    if not columns:
        return {}
    runs = (stop - start) // count
    tile = np.empty((runs, len(columns), count), dtype)
    for index, values in enumerate(columns):
        tile[:, index] = values[start:stop].reshape(runs, count)
    return {name: tile}


def _encoded(array: pa.Array, column: Column) -> pa.DictionaryArray:
    if pt.is_dictionary(array.type):
        return array
    if pt.is_null(array.type):
        array = array.cast(pa.string() if "string" in column.type else pa.int64())
    if pt.is_string_view(array.type):
        array = array.cast(pa.large_string())
    return pc.dictionary_encode(array)


def _mapped(array: pa.DictionaryArray, table: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The codes of an encoded column, from those of its dictionary; the last one is for nulls."""
    indices = array.indices
    if indices.null_count:
        indices = indices.cast(pa.int32()).fill_null(arrow.integer(len(table) - 1, pa.int32()))
    codes: npt.NDArray[np.int64] = np.take(table, arrow.view(indices))
    return codes
