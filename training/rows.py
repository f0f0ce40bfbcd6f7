"""The rows an evaluation works on: sampled from a Parquet source in one pass, bounded in memory.

Which rows are taken depends on their position and the seed alone, not on how the reader cuts the
file into batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import DataError
from pipeline.keys import mix
from training.scoring import Array, Task

MOST_CLASSES = 1_000
MOST_INTEGER_CLASSES = 50  # a whole-number label with more values than this is a quantity

_DRAW = np.uint64(0xA0761D6478BD642F)

Assign = Callable[[pa.RecordBatch, int], npt.NDArray[np.uint8]]


@dataclass
class Drawn:
    """Rows of one part of the split: those kept, in the order of the source, and the counts."""

    table: pa.Table
    available: int
    unlabelled: int


@dataclass(frozen=True)
class Target:
    """A label made ready for probes.

    `train` [rows] and `test` [rows] hold class numbers (int64; -1 in `test` for a class that the
    training rows do not have) or values (float64). `classes` names them, empty for numbers.
    """

    task: Task
    classes: tuple[str, ...]
    train: Array
    test: Array


def draw(
    batches: Iterable[pa.RecordBatch],
    *,
    assign: Assign,
    caps: Mapping[int, int],
    label: str | None,
    seed: int = 0,
) -> dict[int, Drawn]:
    """At most `caps[part]` rows of each part that `assign` names, rows without a label left out.

    `assign` is given a batch and the position of its first row in the source, and says for each
    row which part it belongs to, as `training.split.Split.assign` does.
    """
    pools = {part: _Pool(cap) for part, cap in caps.items()}
    first_row = 0
    for batch in batches:
        parts = assign(batch, first_row)
        labelled = _has_value(batch, label)
        priority = _priority(first_row, batch.num_rows, seed)
        for part, pool in pools.items():
            pool.add(batch, parts == part, labelled, priority, first_row)
        first_row += batch.num_rows
    return {part: pool.drawn() for part, pool in pools.items()}


def _has_value(batch: pa.RecordBatch, label: str | None) -> npt.NDArray[np.bool_]:
    if label is None:
        return np.ones(batch.num_rows, bool)
    missing = pc.is_null(batch.column(label), nan_is_null=True)
    return ~np.asarray(missing.to_numpy(zero_copy_only=False), bool)


def _priority(first_row: int, rows: int, seed: int) -> npt.NDArray[np.uint64]:
    """A pseudo-random number per row position, unrelated to those that split the table."""
    salt = mix(np.array([seed], np.uint64) ^ _DRAW)
    return mix(np.arange(first_row, first_row + rows, dtype=np.uint64) ^ salt)


@dataclass
class _Pool:
    """The rows of one part with the lowest priorities so far; cut back when twice too many."""

    cap: int
    tables: list[pa.Table] = field(default_factory=list)
    priorities: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    positions: list[npt.NDArray[np.int64]] = field(default_factory=list)
    available: int = 0
    unlabelled: int = 0
    held: int = 0
    limit: np.uint64 = np.iinfo(np.uint64).max  # type: ignore[assignment]

    def add(
        self,
        batch: pa.RecordBatch,
        member: npt.NDArray[np.bool_],
        labelled: npt.NDArray[np.bool_],
        priority: npt.NDArray[np.uint64],
        first_row: int,
    ) -> None:
        self.unlabelled += int((member & ~labelled).sum())
        self.available += int((member & labelled).sum())
        index = np.flatnonzero(member & labelled & (priority <= self.limit))
        if len(index) == 0:
            return
        self.tables.append(pa.Table.from_batches([batch]).take(pa.array(index)))
        self.priorities.append(priority[index])
        self.positions.append(index + first_row)
        self.held += len(index)
        if self.held > 2 * self.cap:
            self._cut()

    def _cut(self) -> None:
        priority, position = np.concatenate(self.priorities), np.concatenate(self.positions)
        kept = np.argsort(priority, kind="stable")[: self.cap]
        kept = kept[np.argsort(position[kept])]
        table = pa.concat_tables(self.tables, promote_options="permissive")
        self.tables = [table.take(pa.array(kept)).combine_chunks()]
        self.priorities, self.positions = [priority[kept]], [position[kept]]
        self.held = len(kept)
        if self.held == self.cap:
            self.limit = priority[kept].max()

    def drawn(self) -> Drawn:
        if self.tables:
            self._cut()
        table = self.tables[0] if self.tables else pa.table({})
        return Drawn(table, self.available, self.unlabelled)


def target(name: str, train: pa.ChunkedArray, test: pa.ChunkedArray) -> Target:
    """The label column `name` of training and test rows, without nulls, as classes or numbers.

    Floating and decimal labels, and whole numbers with over 50 values, are numbers; everything
    else is a class.

    Raises:
        DataError: if there is nothing to tell apart, or so much that it looks like a key.
    """
    train, test = _decoded(train), _decoded(test)
    values = pc.unique(train)
    if len(values) < 2:
        found = f"only {values[0].as_py()!r}" if len(values) else "none"
        raise DataError(f"label '{name}' needs two values or more in the training rows, "
                        f"found {found}; name another label")  # fmt: skip
    if _is_quantity(train.type, len(values)):
        numbers = (_numbers(part) for part in (train, test))
        return Target("numbers", (), *numbers)
    if len(values) > MOST_CLASSES:
        raise DataError(f"label '{name}' has {len(values):,} classes in the training rows, more "
                        f"than {MOST_CLASSES:,}; it looks like a key")  # fmt: skip
    values = values.take(pc.sort_indices(values))
    if len(values) == 2 and not bool(pc.all(pc.is_in(values, value_set=pc.unique(test))).as_py()):
        raise DataError(f"label '{name}' needs both values among the test rows, found one; "
                        "pass more test rows")  # fmt: skip
    codes = (pc.index_in(part, values).fill_null(-1).to_numpy() for part in (train, test))
    classes = tuple(str(value) for value in values.to_pylist())
    return Target("two classes" if len(values) == 2 else "classes", classes, *codes)


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string_view(column.type):
        column = column.cast(pa.large_string())
    return column


def _is_quantity(type_: pa.DataType, distinct: int) -> bool:
    if pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return distinct > 2  # a label stored as 0.0 and 1.0 has two classes
    return bool(pa.types.is_integer(type_)) and distinct > MOST_INTEGER_CLASSES


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    numbers: npt.NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy()
    return numbers
