"""Rows that the profile of a training table is counted from, in blocks that stood together.

Rows of one day or one file are alike. How far one day differs from the next can only be seen from
days, so that the sample is one of blocks: pieces of consecutive rows from one file each.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.profile import MOST_BLOCKS
from pipeline.profiling import places_of
from pipeline.schema import FeatureSchema
from training.matrix import TRAIN
from training.split import Split

BLOCK, SEEN = "p2v/block", "p2v/seen"
MOST_ROWS, MOST_NUMBERS = 2_048, 2**22
# The held-out rows of smaller ones are fewer than 256 a block.
SMALL_TABLE = 40_960
# Twice as many are held until the end is known.
_HELD = 2 * MOST_BLOCKS


class BlockSample:
    """At most `MOST_BLOCKS` blocks of a stream of rows, evenly spread, in bounded memory.

    Only rows that the model does not learn from count: its codes of those it learnt from are not
    what it does with new ones. A split by time holds out the end alone, which says nothing of how
    days differ over a year, and of a small table so few rows are held out that chance hides what
    matters: there all rows count, and `SEEN` marks those that were learnt from.
    """

    def __init__(self, schema: FeatureSchema, split: Split, *, rows: int) -> None:
        width = sum(column.length or 1 for column in schema.features)
        self._all = split.rule == "time" or rows < SMALL_TABLE
        self._piece = max(1, rows // MOST_BLOCKS)
        self._most = max(1, min(MOST_ROWS, MOST_NUMBERS // (_HELD * width)))
        self._kept: list[pa.Table] = []
        self._stride, self._seen = 1, 0
        self._schema: pa.Schema | None = None

    def add(self, batch: pa.RecordBatch, parts: npt.NDArray[np.uint8]) -> None:
        """Take in consecutive rows of one file; `parts` as the split assigns them."""
        self._schema = batch.schema
        pieces = max(1, round(batch.num_rows / self._piece))
        bounds = np.arange(pieces + 1) * batch.num_rows // pieces
        for start, stop in pairwise(bounds.tolist()):
            self._add(batch.slice(start, stop - start), parts[start:stop])

    def _add(self, batch: pa.RecordBatch, parts: npt.NDArray[np.uint8]) -> None:
        found = np.flatnonzero((parts != TRAIN) | self._all)
        if not len(found):
            return
        place = self._seen
        self._seen += 1
        if place % self._stride:
            return
        picked = found[places_of(len(found), min(len(found), self._most))]
        rows = pa.Table.from_batches([batch.take(pa.array(picked))])
        self._kept.append(rows.append_column(SEEN, pa.array(parts[picked] == TRAIN)))
        if len(self._kept) > _HELD:
            self._kept, self._stride = self._kept[::2], 2 * self._stride

    def table(self) -> pa.Table:
        """The rows, with the number of their block in `BLOCK`."""
        count = len(self._kept)
        chosen = self._kept
        if count > MOST_BLOCKS:
            chosen = [self._kept[i * count // MOST_BLOCKS] for i in range(MOST_BLOCKS)]
        numbered = [
            rows.append_column(BLOCK, pa.array(np.full(rows.num_rows, place, np.int32)))
            for place, rows in enumerate(chosen)
        ]
        return pa.concat_tables(numbered)
