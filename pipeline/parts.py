"""Parts: the Parquet files of an embedding table, the same bytes for the same work."""

from __future__ import annotations

import json
from bisect import bisect
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from pipeline import arrow
from pipeline.config import EmbeddingJob
from pipeline.errors import DataError
from pipeline.schema import value_type

# Every row group but the last has this many rows, however the input was batched, so that the
# bytes depend on the rows alone.
ROWS_PER_GROUP = 65_536
# What keys of one row group may take: a kibibyte each.
KEY_BYTES_PER_GROUP = 2**10 * ROWS_PER_GROUP
# Characters of what Arrow says of a value: a number may have hundreds of digits.
_REASON = 120


def part_schema(
    job: EmbeddingJob, passed: Iterable[pa.Field], *, dim: int, model: str
) -> pa.Schema:
    """The columns of a part: those passed through, then the embedding, then the score.

    The schema's metadata names the model, so that a file says which encoder made it.
    """
    number = pa.float16() if job.dtype == "float16" else pa.float32()
    fields = [pa.field(field.name, _stored(field.type)) for field in passed]
    if job.vector == "wide":
        fields += [pa.field(f"embedding_{i}", number) for i in range(dim)]
    else:
        listed = pa.list_(number, dim) if job.vector == "fixed" else pa.list_(number)
        fields.append(pa.field("embedding", listed))
    if job.scores:
        fields.append(pa.field("reconstruction_error", pa.float32()))
    facts = {"model": model, "dim": dim}
    return pa.schema(fields, metadata={"parquet2vec": json.dumps(facts)})


def _stored(type_: pa.DataType) -> pa.DataType:
    plain = value_type(type_)
    if pt.is_binary_view(plain):
        return pa.binary()
    return pa.string() if pt.is_string_view(plain) else plain


def part_batch(
    schema: pa.Schema,
    passed: Sequence[pa.Array],
    embedding: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32] | None,
    *,
    first_row: int = 0,
) -> pa.RecordBatch:
    """Rows of a part: `passed` columns untouched, the `embedding` [rows, dim], the `scores`.

    They are those of the input file from row `first_row` on.

    Raises:
        DataError: if a passed column cannot be held exactly by the type of the first file.
    """
    arrays = [exact(array, schema.field(i), first_row=first_row) for i, array in enumerate(passed)]
    arrays += _vectors(embedding, schema.field(len(passed)).type)
    if scores is not None:
        arrays.append(_numbers(scores, pa.float32()))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def exact(array: pa.Array, field: pa.Field, *, first_row: int = 0) -> pa.Array:
    """`array`, from row `first_row` of its file on, in the type of `field`: not a bit is lost.

    Raises:
        DataError: if a value cannot be held exactly.
    """
    if array.type == field.type:
        return array
    found = _held(array, field.type)
    if isinstance(found, str):
        wrong = bisect(
            range(len(array)),
            False,
            key=lambda i: isinstance(_held(array[: i + 1], field.type), str),
        )
        raise DataError(
            f"column '{field.name}' must fit {field.type}, the type in the first file, found a "
            f"value that does not in row {first_row + wrong} (the first is row 0): "
            f"{found[:_REASON]}; cast the column to one type in all files"
        )
    return found


def _held(array: pa.Array, type_: pa.DataType) -> pa.Array | str:
    """`array` as `type_`, or why that cannot hold it."""
    try:
        found = array.cast(type_, safe=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        return str(error)
    # Arrow's safe cast of floats rounds, and makes large ones infinite.
    if not pt.is_floating(array.type) or _same_bits(found.cast(array.type, safe=False), array):
        return found
    return f"{array.type} has more digits"


def _same_bits(one: pa.Array, other: pa.Array) -> bool:
    words = {16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}[one.type.bit_width]
    return bool(one.view(words).equals(other.view(words)))


def _vectors(embedding: npt.NDArray[np.float32], type_: pa.DataType) -> list[pa.Array]:
    """The columns of an embedding: one of lists, or one a dimension where `type_` is a number."""
    rows, dim = embedding.shape
    if not pt.is_nested(type_):
        return [_numbers(embedding[:, i], type_) for i in range(dim)]
    values = _numbers(embedding.reshape(-1), type_.value_type)
    if pt.is_fixed_size_list(type_):
        return [pa.FixedSizeListArray.from_arrays(values, type=type_)]
    offsets = pa.py_buffer(np.arange(0, (rows + 1) * dim, dim, dtype=np.int32))
    return [pa.ListArray.from_buffers(type_, rows, [None, offsets], children=[values])]


def _numbers(values: npt.NDArray[np.float32], type_: pa.DataType) -> pa.Array:
    if not pt.is_float16(type_):
        return arrow.numbers(values, type_)
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float16)
    if np.isinf(narrow).any():
        raise DataError("an embedding is beyond the range of float16; embed with dtype float32")
    return arrow.numbers(narrow, type_)


class PartWriter:
    """Writes the rows of one part in row groups of a fixed size; use it as a context."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._waiting: list[pa.RecordBatch] = []
        self._passed = min(map(schema.names.index, {"embedding", "embedding_0"} & {*schema.names}))
        self._key_bytes = 0
        self.rows = 0
        floats = [name for name, type_ in _leaves(schema) if pt.is_floating(type_)]
        integers = [name for name, type_ in _leaves(schema) if _is_integer_like(type_)]
        others = [
            n for n, t in _leaves(schema) if not pt.is_floating(t) and not _is_integer_like(t)
        ]
        # DuckDB reads no half numbers whose bytes are split.
        halves = [name for name, type_ in _leaves(schema) if pt.is_float16(type_)]
        encodings = dict.fromkeys(floats, "BYTE_STREAM_SPLIT") | dict.fromkeys(halves, "PLAIN")
        self._writer = pq.ParquetWriter(
            path,
            schema,
            compression="snappy",
            use_dictionary=others or False,
            column_encoding=encodings | dict.fromkeys(integers, "DELTA_BINARY_PACKED"),
            write_page_checksum=True,
        )

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows; they are written when a row group is full.

        Raises:
            DataError: if their keys are too long to wait for that.
        """
        self._waiting.append(batch)
        self.rows += batch.num_rows
        self._key_bytes += self._bytes_of_keys(batch)
        if sum(waiting.num_rows for waiting in self._waiting) >= ROWS_PER_GROUP:
            table = pa.Table.from_batches(self._waiting, self._schema)
            full = table.num_rows - table.num_rows % ROWS_PER_GROUP
            # Where an array ends a page may end too: the bytes would tell of the batches.
            whole = table.slice(0, full).combine_chunks()
            self._writer.write_table(whole, row_group_size=ROWS_PER_GROUP)
            self._waiting = table.slice(full).to_batches()
            self._key_bytes = sum(map(self._bytes_of_keys, self._waiting))
        if self._key_bytes > KEY_BYTES_PER_GROUP:
            raise DataError(
                f"keys must take {KEY_BYTES_PER_GROUP // 2**20} MiB or less in {ROWS_PER_GROUP:,} "
                f"rows, found more before row {self.rows:,} of the shard; name rows by less"
            )

    def _bytes_of_keys(self, batch: pa.RecordBatch) -> int:
        return sum(column.nbytes for column in batch.columns[: self._passed])

    def close(self) -> None:
        """Write what is left and the footer."""
        if self._waiting:
            rest = pa.Table.from_batches(self._waiting, self._schema).combine_chunks()
            self._writer.write_table(rest)
        self._writer.close()


def _leaves(schema: pa.Schema) -> list[tuple[str, pa.DataType]]:
    return [
        (f"{f.name}.list.element", f.type.value_type) if pt.is_nested(f.type) else (f.name, f.type)
        for f in schema
    ]


def _is_integer_like(type_: pa.DataType) -> bool:
    narrow = pt.is_integer(type_) or pt.is_date(type_)
    return bool(narrow or pt.is_timestamp(type_))
