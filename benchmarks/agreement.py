"""Do the files of an engine hold what the encoder gives? Exit status 1 and a reason if not.

Usage: python benchmarks/agreement.py BUNDLE SOURCE FOLDER

The reference is encoder.onnx itself, run by ONNX Runtime; it is kept beside SOURCE. Rows are
compared by key: keys and event times must be equal, vectors within 1e-4.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.bundle import Bundle
from pipeline.feed import feed

TOLERANCE = 1e-4


def reference(bundle: Bundle, source: Path) -> tuple[pa.Table, npt.NDArray[np.float32]]:
    """Keys and event times of `source`, sorted, and their embedding, through encoder.onnx."""
    kept = source.with_suffix(".reference.parquet")
    if not kept.exists():
        contract = bundle.manifest.feature_schema
        session = ort.InferenceSession(bundle.read("encoder.onnx"))
        passed = [c.name for c in contract.with_role("key", "event_time")]
        parts = []
        for path in sorted(source.glob("*.parquet")):
            for batch in pq.ParquetFile(path).iter_batches(8_192):
                (vectors,) = session.run(["embedding"], feed(batch, contract))
                listed = pa.FixedSizeListArray.from_arrays(vectors.reshape(-1), vectors.shape[1])
                columns = [*(batch.column(name) for name in passed), listed]
                parts.append(pa.RecordBatch.from_arrays(columns, names=[*passed, "embedding"]))
        pq.write_table(pa.Table.from_batches(parts), kept)
    return _sorted(pq.read_table(kept))


def problem(bundle: Bundle, source: Path, folder: Path) -> str | None:
    """Why the output in `folder` is not the embedding of `source`; None if it is."""
    passed, expected = reference(bundle, source)
    # Engines leave marks and checksums beside their files.
    files = sorted(path for path in folder.rglob("*.parquet") if path.name[0] not in "_.")
    tables = [pq.ParquetFile(path).read() for path in files]
    if not tables:
        return "no files"
    found_passed, found = _sorted(pa.concat_tables(tables))
    if found.shape != expected.shape:
        return f"shape {found.shape}, expected {expected.shape}"
    for name in passed.column_names:
        column = passed[name]
        if not found_passed[name].cast(column.type).equals(column):
            return f"column {name} differs"
    worst = float(np.abs(found - expected).max())
    return f"vectors differ by {worst:.2g}" if not worst <= TOLERANCE else None


def _sorted(table: pa.Table) -> tuple[pa.Table, npt.NDArray[np.float32]]:
    table = table.sort_by("row_id")
    vectors = table["embedding"].combine_chunks()
    values = vectors.flatten().to_numpy().reshape(len(vectors), -1)
    return table.drop_columns(["embedding"]), values


if __name__ == "__main__":
    bundle, source, folder = sys.argv[1:4]
    sys.exit(problem(Bundle.open(bundle), Path(source), Path(folder)))
