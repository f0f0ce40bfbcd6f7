"""What every peer shares: its arguments, the contract of the bundle, and a session that runs it.

Called as ``NAME.py BUNDLE SOURCE DEST ROWS THREADS``: rows of one call of ONNX Runtime, and the
threads inside such a call. `encoder.onnx` is fed by column name, the way any client of a bundle
does: numbers as float64 with NaN, strings as strings with "" for null, vectors as float32 rows.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Task:
    """What to embed, where to, and how; plain values, so that it travels to workers."""

    bundle: str
    source: str
    dest: str
    rows: int
    threads: int
    passed: tuple[str, ...]
    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    vectors: tuple[tuple[str, int], ...]
    dim: int

    @property
    def features(self) -> list[str]:
        return [*self.numbers, *self.texts, *(name for name, _ in self.vectors)]

    @property
    def columns(self) -> list[str]:
        return [*self.passed, *self.features]

    @property
    def files(self) -> list[tuple[Path, Path]]:
        found = sorted(Path(self.source).glob("*.parquet"))
        return [(path, Path(self.dest, path.name)) for path in found]

    def inputs(self, column: Callable[[str], Any]) -> dict[str, Any]:
        """The inputs of the model from Arrow arrays by name."""
        found = {n: column(n).to_numpy(zero_copy_only=False) for n in self.numbers}
        found = {n: values.astype(np.float64, copy=False) for n, values in found.items()}
        for name in self.texts:
            found[name] = column(name).fill_null("").to_numpy(zero_copy_only=False)
        for name, length in self.vectors:
            found[name] = column(name).flatten().to_numpy().reshape(-1, length)
        return found

    def embed(self, inputs: dict[str, Any]) -> Any:
        """The embedding of all rows of `inputs`, float32 [rows, dim], `rows` at a time."""
        session, count = _session(self.bundle, self.threads), len(next(iter(inputs.values())))
        parts = [
            session.run(["embedding"], {n: v[i : i + self.rows] for n, v in inputs.items()})[0]
            for i in range(0, count, self.rows)
        ]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.empty((0, self.dim), np.float32)


def listed(embedding: Any) -> Any:
    """An embedding as the Arrow column to write, without a copy."""
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(embedding.reshape(-1)), embedding.shape[1])


def task() -> Task:
    """The task on the command line."""
    bundle, source, dest, rows, threads = sys.argv[1:6]
    Path(dest).mkdir(parents=True)
    manifest = json.loads(Path(bundle, "manifest.json").read_bytes())
    columns = manifest["feature_schema"]["columns"]
    kinds: dict[str, list[Any]] = {"number": [], "category": [], "vector": []}
    for column in columns:
        if column["role"] == "feature":
            kinds[column["kind"]].append(column)
    return Task(
        bundle=bundle,
        source=source,
        dest=dest,
        rows=int(rows),
        threads=int(threads),
        passed=tuple(c["name"] for c in columns if c["role"] in ("key", "event_time")),
        numbers=tuple(c["name"] for c in kinds["number"]),
        texts=tuple(c["name"] for c in kinds["category"]),
        vectors=tuple((c["name"], c["length"]) for c in kinds["vector"]),
        dim=manifest["dim"],
    )


@lru_cache(maxsize=1)
def _session(bundle: str, threads: int) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    # Threads that spin while they wait would be charged to the peer as CPU.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = str(Path(bundle, "encoder.onnx"))
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
