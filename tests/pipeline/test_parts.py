"""Parts: the same bytes for the same rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.parts import ROWS_PER_GROUP, PartWriter

ROWS = ROWS_PER_GROUP + 9_000
DIM = 16


@pytest.mark.parametrize("rows_per_batch", [257, 300, 3_001, 8_192])
def test_the_bytes_of_full_row_groups_do_not_depend_on_the_batches(
    tmp_path: Path, rows_per_batch: int
) -> None:
    vectors = np.random.default_rng(0).normal(size=ROWS * DIM).astype(np.float32)
    keys = pa.array(np.arange(ROWS) % 5_000)
    columns = {
        "id": keys,
        "name": keys.cast(pa.string()),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors), DIM),
    }
    table = pa.table(columns)

    def written(rows: int) -> bytes:
        path = tmp_path / f"{rows}.parquet"
        writer = PartWriter(path, table.schema)
        for start in range(0, ROWS, rows):
            writer.write(table.slice(start, rows).combine_chunks().to_batches()[0])
        writer.close()
        return path.read_bytes()

    assert written(rows_per_batch) == written(ROWS_PER_GROUP)
