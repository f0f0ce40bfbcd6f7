"""Keys that name one row each: rows without a key, or with one seen before, found in one pass.

Every key becomes a hash of 64 bits, 8 bytes a row in memory. Rows whose hash stands twice are read
again and compared by value, so that two keys of one hash are no repeat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from pipeline import arrow, limits
from pipeline.errors import ConfigError, DataError
from pipeline.parts import exact
from pipeline.schema import is_text
from pipeline.shards import plan_shards, read_batches
from pipeline.source import Source

_SHOWN = 3
_SUSPECTS = 10_000
_ROWS_AT_A_TIME = 2**20
_WORDS = {8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}

Hashes = npt.NDArray[np.uint64]


def mix(values: Hashes) -> Hashes:
    """Hash of 64-bit integers: SplitMix64's step (Steele, Lea & Flood, OOPSLA 2014).

    >>> hex(mix(np.array([0], np.uint64))[0])
    '0xe220a8397b1dcdaf'
    """
    z = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = z ^ (z >> np.uint64(31))
    return mixed


@dataclass
class _Found:
    """How many rows of a kind there are, and where the first ones are."""

    rows: int = 0
    places: list[str] = field(default_factory=list)

    def add(self, rows: int, place: str) -> None:
        self.rows += rows
        if len(self.places) < _SHOWN:
            self.places.append(place)


def require_unique(source: Source, schema: pa.Schema, names: Sequence[str], *, memory: int) -> None:
    """Check that the columns `names` together name one row each; `schema` has their types.

    Raises:
        DataError: naming files and rows of missing and of repeated keys, never the keys.
        ConfigError: if the hashes do not fit into `memory` bytes.
    """
    needed = limits.resident() + 8 * source.rows
    if needed > memory:
        raise ConfigError(
            f"unique_keys needs {-(-needed // 10**6)}MB of memory for {source.rows:,} rows, "
            f"found {memory // 10**6}MB; allow more, or embed without it"
        )
    fields = [schema.field(name) for name in names]
    missing, hashes, filled = _Found(), np.empty(source.rows, np.uint64), 0
    for path, row, arrays in _keys(source, fields):
        null = _is_null(arrays)
        if null.any():
            missing.add(int(null.sum()), f"{path} row {row + int(null.argmax())}")
        found = _hashes(arrays)[~null]
        hashes[filled : filled + len(found)] = found
        filled += len(found)
    repeats, suspects = _repeated(hashes[:filled])
    del hashes
    repeated = _Found(repeats, _pairs(source, fields, suspects)) if repeats else _Found()
    problems = [f"{_rows(missing)} without one"] if missing.rows else []
    if repeated.places:
        problems.append(f"{_rows(repeated)} with that of another")
    if problems:
        raise DataError(
            f"{source.path}: every row must have a key of its own ({', '.join(names)}), found: "
            f"{'; '.join(problems)}; mend them, or embed without unique_keys"
        )


def _rows(found: _Found) -> str:
    return f"{found.rows:,} {'row' if found.rows == 1 else 'rows'} ({', '.join(found.places)})"


def _keys(source: Source, fields: Sequence[pa.Field]) -> Iterator[tuple[str, int, list[pa.Array]]]:
    """File, first row there, and key columns of every batch, in the types of `fields`."""
    for shard in plan_shards(source):
        row = shard.first_row
        for batch in read_batches(shard, columns=[one.name for one in fields]):
            arrays = [exact(batch.column(i), one, first_row=row) for i, one in enumerate(fields)]
            yield shard.file.relative, row, arrays
            row += batch.num_rows


def _is_null(arrays: Sequence[pa.Array]) -> npt.NDArray[np.bool_]:
    null = np.zeros(len(arrays[0]), bool)
    for array in arrays:
        if array.null_count:
            null |= arrow.view(array.is_null().cast(pa.uint8())).astype(bool)
    return null


def _repeated(hashes: Hashes) -> tuple[int, Hashes]:
    """How many of `hashes` stand there already, and the first of them; sorts in place."""
    hashes.sort()
    count, suspects = 0, np.empty(0, np.uint64)
    for start in range(1, len(hashes), _ROWS_AT_A_TIME):
        part = hashes[start - 1 : start + _ROWS_AT_A_TIME]
        again = part[1:][part[1:] == part[:-1]]
        count += len(again)
        if len(suspects) < _SUSPECTS:
            suspects = np.concatenate([suspects, again])
    return count, np.unique(suspects)


def _pairs(source: Source, fields: Sequence[pa.Field], suspects: Hashes) -> list[str]:
    """Places of the first rows that truly have one key, of those whose hash is suspect."""
    known: dict[tuple[object, ...], str] = {}
    pairs: list[str] = []
    for path, row, arrays in _keys(source, fields):
        hashes = _hashes(arrays)
        for at in np.flatnonzero(np.isin(hashes, suspects) & ~_is_null(arrays)):
            key = tuple(_value(array, int(at)) for array in arrays)
            place = f"{path} row {row + int(at)}"
            first = known.setdefault(key, place)
            if first != place:
                pairs.append(f"{place} as {first}")
            if len(pairs) == _SHOWN:
                return pairs
    return pairs


def _value(array: pa.Array, row: int) -> object:
    """One key by value, so that equal ones are equal to the bit."""
    one = array.slice(row, 1)
    if words := _words(one):
        return int(arrow.view(words)[0])
    return next(_bytes(one))


def _hashes(arrays: Sequence[pa.Array]) -> Hashes:
    """A hash of every row of key columns; of rows with a null, any number."""
    found = np.zeros(len(arrays[0]), np.uint64)
    for array in arrays:
        words = _words(array)
        if words is not None:
            column = arrow.view(words).astype(np.uint64)
        else:
            column = np.fromiter(map(hash, _bytes(array)), np.int64, len(array)).view(np.uint64)
        found = mix(found ^ column)
    return found


def _words(array: pa.Array) -> pa.Array | None:
    """Values of up to 64 bits as unsigned integers, 0 where null; None for other types."""
    plain = array.cast(pa.uint8()) if pt.is_boolean(array.type) else array
    if not pt.is_primitive(plain.type) or plain.type.bit_width not in _WORDS:
        return None
    words = plain.view(_WORDS[plain.type.bit_width])
    return words.fill_null(arrow.integer(0, words.type)) if words.null_count else words


def _bytes(array: pa.Array) -> Iterator[bytes]:
    """Values of other types as bytes, empty where null."""
    if not (is_text(array.type) or pt.is_binary(array.type) or pt.is_large_binary(array.type)):
        yield from (repr(value.as_py()).encode() for value in array)
        return
    plain = array.cast(pa.large_binary())
    _, ends, data = plain.buffers()
    offsets = np.frombuffer(ends, np.int64)[plain.offset : plain.offset + len(plain) + 1].tolist()
    held = data.to_pybytes() if data is not None else b""
    yield from (held[start:stop] for start, stop in pairwise(offsets))
