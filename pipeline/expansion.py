"""How much a few bytes of Parquet may become in memory, told before they are decoded.

A value that repeats costs a file nothing: 5 kB of pages may hold gigabytes of text or lists. What
numbers take is known from their type; for text and lists a footer and a look at a dictionary tell.

Arrow ends the process where Python asks for a column chunk whose footer entry is damaged. So one
row of a chunk is read first: reading finds the same damage, and raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from pipeline.schema import Column, is_text, value_type

# Bytes that one batch of a text column may take.
TEXT_BYTES = 16 * 2**20
# Elements that lists may have beyond what they should, so that the row at fault can be named.
_SPARE_ELEMENTS = 2**20
# Groups that pack a row into a like number of bytes are taken to hold the like.
_ALIKE = 2

# Rows at a time where values share their beginnings, and nothing tells how long they are.
_SIP = 256


class Reopen(Protocol):
    """Opens the same file once more, with the named columns as dictionaries."""

    def __call__(self, *, dictionary: Sequence[str]) -> pq.ParquetFile:
        """The opened file."""


def first_leaves(schema: pa.Schema) -> dict[str, int]:
    """Place of each column's first leaf among the column chunks of a row group.

    >>> first_leaves(pa.schema({"a": pa.list_(pa.int8()), "a.b": pa.int8()}))
    {'a': 0, 'a.b': 1}
    """
    places, at = {}, 0
    for column in schema:
        places[column.name] = at
        at += _leaves(column.type)
    return places


def _leaves(type_: pa.DataType) -> int:
    if isinstance(type_, pa.BaseExtensionType):
        return _leaves(type_.storage_type)
    if not pt.is_nested(type_):
        return 1
    return sum(_leaves(type_.field(i).type) for i in range(type_.num_fields))


def surplus_elements(
    parquet: pq.ParquetFile, row_groups: Sequence[int], columns: Sequence[Column]
) -> str | None:
    """What is wrong where a footer tells of many more elements of a list than its length allows."""
    for column in columns:
        if column.kind not in ("vector", "image"):
            continue
        for index, chunk in _chunks(parquet, column.name, row_groups).items():
            rows = parquet.metadata.row_group(index).num_rows
            if chunk.num_values > rows * int(column.length or 0) + _SPARE_ELEMENTS:
                return (
                    f"column '{column.name}' must hold {column.length} numbers in every row, found "
                    f"{chunk.num_values:,} in the {rows:,} rows of row group {index}; cut or pad it"
                )
    return None


def affordable_rows(
    parquet: pq.ParquetFile, row_groups: Sequence[int], names: Sequence[str], reopen: Reopen
) -> int:
    """Rows of the text columns `names` that can be decoded at a time, whatever they repeat."""
    schema, longest = parquet.schema_arrow, 1.0
    for name in names:
        if not _is_sized_by_value(schema.field(name).type):
            continue
        chunks = _chunks(parquet, name, row_groups)
        packed = 0.0
        for density, index in sorted((_density(chunk), i) for i, chunk in chunks.items()):
            if density > _ALIKE * packed:
                packed = density
                looked = _longest(name, index, chunks[index].encodings, reopen)
                longest = max(longest, density, looked)
    return max(1, int(TEXT_BYTES / longest))


def _chunks(
    parquet: pq.ParquetFile, name: str, row_groups: Sequence[int]
) -> dict[int, pq.ColumnChunkMetaData]:
    """What the footer says of the first leaf of a column in each row group that has rows."""
    place = first_leaves(parquet.schema_arrow)[name]
    chunks = {}
    for index in row_groups:
        rows = parquet.iter_batches(
            batch_size=1, row_groups=[index], columns=[name], use_threads=False
        )
        if next(rows, None) is not None:
            chunks[index] = parquet.metadata.row_group(index).column(place)
    return chunks


def _longest(name: str, row_group: int, encodings: Sequence[str], reopen: Reopen) -> int:
    """Bytes of the longest value that takes less in the file than in memory; 0 where none does."""
    with_prefixes = "DELTA_BYTE_ARRAY" in encodings
    if not with_prefixes and not any("DICTIONARY" in encoding for encoding in encodings):
        return 0
    with reopen(dictionary=[] if with_prefixes else [name]) as parquet:
        batches = parquet.iter_batches(
            batch_size=_SIP if with_prefixes else 1,
            row_groups=[row_group],
            columns=[name],
            use_threads=False,
        )
        # All of a dictionary comes with the first row.
        seen = batches if with_prefixes else islice(batches, 1)
        return max((_longest_value(batch.column(name)) for batch in seen), default=0)


def _longest_value(array: pa.Array) -> int:
    values = array.dictionary if pt.is_dictionary(array.type) else array
    return pc.max(pc.binary_length(values.cast(pa.large_binary()))).as_py() or 0


def _is_sized_by_value(type_: pa.DataType) -> bool:
    binary = pt.is_binary(type_) or pt.is_large_binary(type_) or pt.is_binary_view(type_)
    return bool(is_text(value_type(type_)) or binary)


def _density(chunk: pq.ColumnChunkMetaData) -> float:
    return float(chunk.total_uncompressed_size / max(1, chunk.num_values))
