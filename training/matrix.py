"""Prepared rows on disk: written in one streaming pass, read row by row or in blocks.

Plain ``.npy`` files, memory-mapped, so that training never needs the table in memory.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.prologue import Prepared

TRAIN, VALIDATION, TEST = 0, 1, 2
BYTES_PER_READ = 16 * 2**20
_HEADER = 256

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


class Batch(NamedTuple):
    """Rows of one gradient step and their labels, float64 [n, L], NaN where null."""

    rows: Prepared
    labels: Array


class ArrayWriter:
    """Writes one ``.npy`` file by appending rows; the header gets its length when closed."""

    def __init__(self, path: Path, *, dtype: str, width: int | None):
        self._file: BinaryIO = path.open("wb")
        self._dtype, self._width, self._rows = np.dtype(dtype), width, 0
        self._file.write(b" " * _HEADER)

    def append(self, rows: Array) -> None:
        """Add rows of shape [n, width] (or [n])."""
        self._file.write(np.ascontiguousarray(rows, dtype=self._dtype).data)
        self._rows += len(rows)

    def close(self) -> None:
        """Write the header; the file is an ``.npy`` of format version 1.0 from now on."""
        shape = (self._rows,) if self._width is None else (self._rows, self._width)
        text = repr({"descr": self._dtype.str, "fortran_order": False, "shape": shape})
        length = _HEADER - 10
        self._file.seek(0)
        self._file.write(b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little"))
        self._file.write(text.ljust(length - 1).encode() + b"\n")
        self._file.close()


class MatrixWriter:
    """Writes a `Matrix` folder; use as a context manager."""

    def __init__(self, folder: Path, *, numbers: int, ranks: int, categories: int, labels: int):
        folder.mkdir(parents=True, exist_ok=True)
        self._files = {
            name: ArrayWriter(folder / f"{name}.npy", dtype=dtype, width=width)
            for name, dtype, width in (
                ("numeric", "<f4", numbers),
                ("ranked", "<f4", ranks),
                ("codes", "<i4", categories),
                ("labels", "<f8", labels),
                ("split", "|u1", None),
            )
        }

    def append(self, prepared: Prepared, *, split: Array, labels: Array) -> None:
        """Add rows: prepared, the split of each, uint8 [n], and their labels, float64 [n, L]."""
        parts = {**prepared._asdict(), "split": split, "labels": labels}
        for name, part in parts.items():
            self._files[name].append(part)

    def __enter__(self) -> MatrixWriter:
        """Begin writing."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the files."""
        for file in self._files.values():
            file.close()


@dataclass(frozen=True)
class Matrix:
    """Prepared rows of one table.

    Shape:
        numeric [N, D] float32, ranked [N, R] float32, codes [N, C] int32, labels [N, L] float64
        (class numbers or values, NaN where null), split [N] uint8: 0 train, 1 validation, 2 test.
    """

    numeric: Array
    ranked: Array
    codes: Array
    labels: Array
    split: Array

    @staticmethod
    def open(folder: Path) -> Matrix:
        """The matrix that a `MatrixWriter` left in `folder`, memory-mapped."""
        return Matrix(
            **{name: _load(folder / f"{name}.npy") for name in Matrix.__dataclass_fields__}
        )

    def where(self, split: int) -> Indices:
        """Rows of a split, ascending."""
        return np.flatnonzero(self.split == split)

    def take(self, rows: Indices) -> Prepared:
        """Some rows, in memory: float32, float32, int64."""
        arrays = (self.numeric, self.ranked, self.codes)
        kinds = (np.float32, np.float32, np.int64)
        taken: list[Array] = [
            np.empty((len(rows), array.shape[1]), kind)
            for array, kind in zip(arrays, kinds, strict=True)
        ]
        # The system maps pages around every row, of rows far apart the whole file: what is read
        # before it is given back lies together.
        order = np.argsort(rows, kind="stable")
        stretch = rows[order] // self._rows_per_read
        for part in np.split(order, np.flatnonzero(np.diff(stretch)) + 1):
            for into, array in zip(taken, arrays, strict=True):
                into[part] = array[rows[part]]
            self.forget()
        return Prepared(*taken)

    @property
    def _rows_per_read(self) -> int:
        arrays = (self.numeric, self.ranked, self.codes)
        bytes_per_row = int(sum(array.itemsize * array.shape[1] for array in arrays))
        return max(1, BYTES_PER_READ // max(1, bytes_per_row))

    def batch(self, rows: Indices) -> Batch:
        """Some rows with their labels, in memory."""
        return Batch(self.take(rows), np.asarray(self.labels[rows]))

    def blocks(self, split: int, *, rows_per_block: int = 8192) -> Iterator[Prepared]:
        """All rows of a split in their order."""
        rows = self.where(split)
        for start in range(0, len(rows), rows_per_block):
            yield self.take(rows[start : start + rows_per_block])

    def forget(self) -> None:
        """Give back the memory of what was read; the system may still have it in its cache.

        Pages of a mapped file count as memory of the process, until it has all of the file.
        """
        for name in self.__dataclass_fields__:
            mapped = getattr(self, name).base
            if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)

    def labelled(self, rows: Indices) -> npt.NDArray[np.bool_]:
        """Which of some rows have a label or more, bool [n]."""
        known: npt.NDArray[np.bool_] = np.asarray(np.isfinite(self.labels[rows]).any(axis=1), bool)
        return known

    def sample(self, split: int, *, limit: int) -> Indices:
        """At most `limit` rows of a split, evenly spread."""
        return spread(self.where(split), limit=limit)


def spread(rows: Indices, *, limit: int) -> Indices:
    """At most `limit` of some rows, evenly spread."""
    if len(rows) <= limit:
        return rows
    return rows[np.linspace(0, len(rows) - 1, limit).astype(np.int64)]


def cut(rows: Prepared, first: int, last: int) -> Prepared:
    """Rows `first` to `last`, without copying."""
    return Prepared(rows.numeric[first:last], rows.ranked[first:last], rows.codes[first:last])


def joined(parts: list[Batch]) -> Batch:
    """The rows of some batches, one after the other."""
    rows = Prepared(*map(np.concatenate, zip(*(part.rows for part in parts), strict=True)))
    return Batch(rows, np.concatenate([part.labels for part in parts]))


def _load(path: Path) -> Array:
    # An empty array cannot be mapped, and needs no mapping.
    mode: Literal["r"] | None = "r" if path.stat().st_size > _HEADER else None
    loaded: Array = np.load(path, mmap_mode=mode, allow_pickle=False)
    return loaded
