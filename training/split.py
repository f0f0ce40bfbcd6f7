"""Which rows an encoder learns from and which it never sees, repeatable from the record alone.

80 % training, 10 % validation, 10 % test: by a hash of the key columns, by a hash of the row's
position where there is no key, or by time where there is an event time (the past trains).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from pipeline.feed import NULL_INT, flat, to_timestamps
from pipeline.keys import mix
from pipeline.schema import Column
from training.matrix import TEST, TRAIN, VALIDATION

TRAIN_SHARE, VALIDATION_SHARE = 0.8, 0.1
_PICK = np.uint64(0xD6E8FEB86659FD93)

Rule = Literal["key", "position", "time"]
Hashes = npt.NDArray[np.uint64]
Parts = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Split:
    """A rule that gives each row its part: 0 train, 1 validation, 2 test.

    `columns` are the key columns, or the event time; `thresholds` the first microsecond of
    validation and of test (rule ``time``). Rows without an event time train.
    """

    rule: Rule
    columns: tuple[str, ...] = ()
    thresholds: tuple[int, ...] = ()
    seed: int = 0

    @staticmethod
    def by_time(column: str, micros: npt.NDArray[np.int64], *, seed: int) -> Split | None:
        """A split at the 80 % and 90 % points of `micros`; None when that leaves a part empty.

        `micros` [rows] is sorted in place: there may be no memory for a second one.
        """
        micros.sort()
        known = micros[np.searchsorted(micros, NULL_INT, "right") :]
        if not len(known):
            return None
        cuts = (TRAIN_SHARE, TRAIN_SHARE + VALIDATION_SHARE)
        first, second = (int(known[int(share * (len(known) - 1))]) for share in cuts)
        if not known[0] < first < second:
            return None
        return Split("time", (column,), (first, second), seed)

    @property
    def description(self) -> str:
        """The rule in words."""
        if self.rule == "time":
            return f"by time: the last tenth of '{self.columns[0]}'"
        if self.rule == "key":
            return f"a tenth by a hash of {', '.join(map(repr, self.columns))}"
        return "a tenth by a hash of the row's position"

    def assign(self, batch: pa.RecordBatch, first_row: int) -> Parts:
        """Part of each row of `batch`, uint8 [N]; `first_row` is its position in the source."""
        if self.rule == "time":
            micros = _micros(batch, self.columns[0])
            late = (micros[:, None] >= np.array(self.thresholds)).sum(axis=1)
        else:
            share = _share(self.hashes(batch, first_row))
            cuts = np.array([TRAIN_SHARE, TRAIN_SHARE + VALIDATION_SHARE])
            late = np.searchsorted(cuts, share, "right")
        parts: Parts = np.array([TRAIN, VALIDATION, TEST], np.uint8)[late]
        return parts

    def picks(
        self, batch: pa.RecordBatch, first_row: int, *, share: float
    ) -> npt.NDArray[np.bool_]:
        """A fixed choice of about `share` of the rows, independent of their parts, bool [N]."""
        if share >= 1:
            return np.ones(batch.num_rows, bool)
        return _share(mix(self.hashes(batch, first_row) ^ _PICK)) < share

    def hashes(self, batch: pa.RecordBatch, first_row: int) -> Hashes:
        """A hash of each row's key, or of its position where the rule has no key, uint64 [N]."""
        seed = mix(np.full(batch.num_rows, self.seed, np.uint64))
        if self.rule != "key":
            return mix(np.arange(first_row, first_row + batch.num_rows, dtype=np.uint64) ^ seed)
        found = seed
        for name in self.columns:
            found = mix(found ^ hash_values(flat(batch, name)))
        return found

    def to_json(self) -> dict[str, Any]:
        """The rule as plain data."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Split:
        """The split that `to_json` described."""
        return Split(data["rule"], tuple(data["columns"]), tuple(data["thresholds"]), data["seed"])


def hash_values(array: pa.Array) -> Hashes:
    """Hash of each value: equal for equal values in any width of integer or layout of text."""
    if pt.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pt.is_timestamp(array.type):
        # As text it would need a time zone that this machine knows.
        array = array.view(pa.int64())
    if pt.is_integer(array.type) and array.type != pa.uint64():
        whole = array.cast(pa.int64()).fill_null(NULL_INT).to_numpy(zero_copy_only=False)
        return mix(whole.view(np.uint64))
    if _is_bytes(array.type):
        text = array.cast(pa.large_binary()).fill_null(b"").to_numpy(zero_copy_only=False)
    else:
        text = array.cast(pa.large_string()).fill_null("").to_numpy(zero_copy_only=False)
    import pandas.util  # late: a flow that only embeds comes by here

    hashed: Hashes = pandas.util.hash_array(text.astype(object))
    return hashed


def _is_bytes(type_: pa.DataType) -> bool:
    kinds = (pt.is_binary, pt.is_large_binary, pt.is_binary_view, pt.is_fixed_size_binary)
    return any(is_kind(type_) for is_kind in kinds)


def _micros(batch: pa.RecordBatch, name: str) -> npt.NDArray[np.int64]:
    array = flat(batch, name)
    column = Column(name=name, kind="timestamp", role="event_time", type=str(array.type))
    return to_timestamps(array, column)


def _share(hashes: Hashes) -> npt.NDArray[np.float64]:
    shares: npt.NDArray[np.float64] = (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return shares
