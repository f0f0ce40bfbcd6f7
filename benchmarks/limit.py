"""The parts of the work alone, which no engine can do without: read, forward, write.

Usage: python benchmarks/limit.py read|forward|write BUNDLE SOURCE DEST SETTING ...

Every part runs on one thread per core, as the whole job does, over as many rows as SOURCE has.
`throughput.py` tries the settings below and takes those that cost the least CPU. `forward` runs
core.onnx over blocks that are filled already; `write` writes the same 65,536 rows again and again.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import Encoder
from pipeline.bundle import Bundle
from pipeline.feed import CODES, NUMBERS, TIMESTAMPS, codes_output, feed, to_input

CORES = len(os.sched_getaffinity(0))
SAMPLE = 65_536

Part = Callable[[Bundle, list[Path], Path, list[str]], None]


def read(bundle: Bundle, files: list[Path], dest: Path, settings: list[str]) -> None:
    """Decode every column that is needed; settings: rows of a batch, pre-buffer (0 or 1).

    Memory is the system's: mimalloc's huge pages make what a start costs a matter of luck, up to
    two CPU seconds more, so that no slope can be read from it.
    """
    rows, pre_buffer = map(int, settings)
    pa.set_memory_pool(pa.system_memory_pool())
    contract = bundle.manifest.feature_schema
    columns = [c.name for c in contract.with_role("key", "event_time", "feature")]
    texts = [c.name for c in contract.by_kind("category")]

    def work(path: Path) -> None:
        file = pq.ParquetFile(
            path,
            read_dictionary=texts or None,
            pre_buffer=bool(pre_buffer),
            buffer_size=0 if pre_buffer else 1 << 16,
            page_checksum_verification=True,
        )
        for _ in file.iter_batches(rows, columns=columns, use_threads=False):
            pass

    _on_all_cores(work, files)


def forward(bundle: Bundle, files: list[Path], dest: Path, settings: list[str]) -> None:
    """Run core.onnx, and lookup.onnx on the distinct values of every sample.

    Settings: rows of a run, memory arena (0 or 1).
    """
    rows, arena = map(int, settings)
    sample = _sample(bundle, files)
    blocks, distinct = _blocks(bundle, sample, rows), _distinct(bundle, sample)
    core = _session(bundle, "core.onnx", arena)
    lookup = _session(bundle, "lookup.onnx", arena) if distinct else None

    def work(path: Path) -> None:
        left = pq.read_metadata(path).num_rows
        while left > 0:
            if lookup:
                lookup.run(None, distinct)
            for count, block in blocks:
                core.run(["embedding"], block)
                left -= count
                if left <= 0:
                    break

    _on_all_cores(work, files)


def write(bundle: Bundle, files: list[Path], dest: Path, settings: list[str]) -> None:
    """Write key, event time and embedding, and hash the file, as every part of ours is.

    Settings: compression, rows of a row group.
    """
    compression, rows = settings[0], int(settings[1])
    table = _sample(bundle, files)
    embedding = Encoder(bundle).transform(table)
    passed = [c.name for c in bundle.manifest.feature_schema.with_role("key", "event_time")]
    values = pa.array(embedding.reshape(-1))
    vectors = pa.FixedSizeListArray.from_arrays(values, embedding.shape[1])
    table = table.select(passed).append_column("embedding", vectors)
    dest.mkdir(parents=True)

    def work(path: Path) -> None:
        left = pq.read_metadata(path).num_rows
        with pq.ParquetWriter(
            dest / path.name,
            table.schema,
            compression=compression,
            use_dictionary=False,
            column_encoding=dict.fromkeys(passed, "DELTA_BINARY_PACKED")
            | {"embedding.list.element": "BYTE_STREAM_SPLIT"},
            write_page_checksum=True,
        ) as writer:
            while left > 0:
                writer.write_table(table.slice(0, left), row_group_size=rows)
                left -= table.num_rows
        with (dest / path.name).open("rb") as written:
            hashlib.file_digest(written, "sha256")

    _on_all_cores(work, files)


def _on_all_cores(work: Callable[[Path], None], files: list[Path]) -> None:
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(work, files))


def _sample(bundle: Bundle, files: list[Path]) -> pa.Table:
    names = [
        c.name for c in bundle.manifest.feature_schema.with_role("key", "event_time", "feature")
    ]
    return pq.ParquetFile(files[0]).read_row_group(0, columns=names).slice(0, SAMPLE)


def _session(bundle: Bundle, name: str, arena: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = bool(arena)
    return ort.InferenceSession(bundle.read(name), options, providers=["CPUExecutionProvider"])


def _distinct(bundle: Bundle, table: pa.Table) -> dict[str, Any]:
    """The inputs of lookup.onnx: every value of `table` once."""
    return {
        column.name: to_input(table.column(column.name).unique(), column)
        for column in bundle.manifest.feature_schema.by_kind("category")
    }


def _blocks(bundle: Bundle, table: pa.Table, rows: int) -> list[tuple[int, dict[str, Any]]]:
    contract = bundle.manifest.feature_schema
    inputs = feed(table.combine_chunks(), contract)
    columns: dict[str, list[Any]] = {
        NUMBERS: [inputs[c.name] for c in contract.by_kind("number", "boolean")],
        TIMESTAMPS: [inputs[c.name] for c in contract.by_kind("timestamp") if c.name in inputs],
    }
    if categories := contract.by_kind("category"):
        lookup = ort.InferenceSession(bundle.read("lookup.onnx"))
        outputs = [codes_output(c.name) for c in categories]
        columns[CODES] = lookup.run(outputs, {c.name: inputs[c.name] for c in categories})
    vectors = {c.name: inputs[c.name] for c in contract.by_kind("vector", "image")}
    found = []
    for start in range(0, table.num_rows, rows):
        stop = min(start + rows, table.num_rows)
        block = {name: np.stack([v[start:stop] for v in vs]) for name, vs in columns.items() if vs}
        block |= {name: values[start:stop] for name, values in vectors.items()}
        found.append((stop - start, block))
    return found


PARTS: dict[str, Part] = {"read": read, "forward": forward, "write": write}


if __name__ == "__main__":
    opened = Bundle.open(sys.argv[2])
    PARTS[sys.argv[1]](opened, sorted(Path(sys.argv[3]).glob("*")), Path(sys.argv[4]), sys.argv[5:])
