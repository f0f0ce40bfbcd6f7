"""A few kilobytes that become gigabytes: embedded or refused within the memory a job may have."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Bundle, expansion, parts
from pipeline.errors import DataError
from pipeline.expansion import first_leaves
from pipeline.parts import PartWriter
from pipeline.shards import read_batches
from pipeline.source import open_source

BOUND = 10**9
# The peak is the process's own, not what it was forked from.
CHILD = """
import json, sys
from pathlib import Path
from pipeline import EmbeddingJob, embed
from pipeline.errors import DataError
bundle, source, destination = sys.argv[1:]
job = EmbeddingJob(bundle=bundle, source=source, destination=destination, memory="1GB", threads=2)
try:
    found = {"rows": embed(job).rows}
except DataError as error:
    found = {"refused": str(error)}
lines = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
print(json.dumps(found | {"peak": peak}))
"""

BundleOf = Callable[..., Bundle]


def bomb(path: Path, table: pa.Table) -> Path:
    """One row group, its text as a plain column whose value stands in the file once."""
    pq.write_table(table, path, row_group_size=10**9, store_schema=False)
    assert path.stat().st_size < 200_000
    return path


def repeated(text: str, rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([text]))


def embedded(bundle: Bundle, source: Path) -> dict[str, object]:
    words = [sys.executable, "-c", CHILD, str(bundle.path), str(source), str(source.parent / "to")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    found: dict[str, object] = json.loads(done.stdout)
    peak = found.pop("peak")
    assert isinstance(peak, int)
    assert peak < BOUND
    return found


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """88 kB that are 1.5 GB of text."""
    rows = {"x": np.arange(15_000.0), "s": repeated("x" * 100_000, 15_000)}
    return bomb(tmp_path / "bomb.parquet", pa.table(rows))


SMALL = {"x": [1.0, 2.0, 3.0], "s": ["a", "b", "a"]}


def test_text_as_a_feature_is_embedded(bundle_of: BundleOf, texts: Path) -> None:
    assert embedded(bundle_of(pa.table(SMALL)), texts) == {"rows": 15_000}


def test_text_as_a_key_is_refused(bundle_of: BundleOf, texts: Path) -> None:
    found = embedded(bundle_of(pa.table(SMALL), keys=["s"]), texts)
    assert "bomb.parquet: keys must take 64 MiB or less in 65,536 rows" in str(found["refused"])


def test_lists_of_a_million_where_two_were_agreed_are_refused(
    bundle_of: BundleOf, tmp_path: Path
) -> None:
    starts = pa.array(np.arange(0, 21, dtype=np.int32) * 10**6)
    lists = pa.ListArray.from_arrays(starts, pa.array(np.zeros(20 * 10**6, np.int8)))
    source = bomb(tmp_path / "bomb.parquet", pa.table({"v": lists}))
    found = embedded(bundle_of(pa.table({"v": [[1, 2], [2, 1]]})), source)
    assert "bomb.parquet: column 'v' must hold 2 numbers in every row, found 20,000,000" in str(
        found["refused"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("values", [np.zeros(25 * 10**6), pa.nulls(25 * 10**6, pa.float64())])
def test_millions_of_rows_in_one_page_are_embedded(
    bundle_of: BundleOf, tmp_path: Path, values: object
) -> None:
    source = bomb(tmp_path / "bomb.parquet", pa.table({"x": values}))
    assert embedded(bundle_of(pa.table({"x": [1.0, 2.0, 3.0]})), source) == {"rows": 25 * 10**6}


TEXT = 2**16


@pytest.fixture
def little_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the text of one batch may take, made small."""
    monkeypatch.setattr(expansion, "TEXT_BYTES", TEXT)


ENCODED: dict[str, dict[str, object]] = {
    "a dictionary": {},
    "shared beginnings": {"use_dictionary": False, "column_encoding": {"s": "DELTA_BYTE_ARRAY"}},
    "plain": {"use_dictionary": False, "compression": "zstd"},
    "lengths apart": {"use_dictionary": False, "column_encoding": {"s": "DELTA_LENGTH_BYTE_ARRAY"}},
}


@pytest.mark.usefixtures("little_text")
@pytest.mark.parametrize("name", ENCODED)
@pytest.mark.parametrize("type_", [pa.string(), pa.large_string(), pa.binary(), pa.string_view()])
def test_batches_shrink_to_the_longest_value_however_it_is_stored(
    tmp_path: Path, name: str, type_: pa.DataType
) -> None:
    long = pa.array(["y" * (TEXT // 8)] * 32, type_)
    table = pa.table({"a": [[1, 2]] * 32, "s": long})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=16, **ENCODED[name])
    sizes = [b.num_rows for b in read_batches(open_source(tmp_path), columns=["a", "s"])]
    assert (max(sizes) in (7, 8), sum(sizes)) == (True, 32)


@pytest.mark.usefixtures("little_text")
def test_a_long_value_in_a_later_row_group_counts(tmp_path: Path) -> None:
    short, long = ["a", "b"] * 500, ["y" * (TEXT // 8)] * 16
    with pq.ParquetWriter(tmp_path / "x.parquet", pa.schema({"s": pa.string()})) as writer:
        for values in (short, long, short):
            writer.write_table(pa.table({"s": values}))
    sizes = [b.num_rows for b in read_batches(open_source(tmp_path), columns=["s"])]
    assert (max(sizes), sum(sizes)) == (8, 2_016)


def test_leaves_are_counted_through_every_nesting() -> None:
    inner = pa.struct({"a": pa.list_(pa.int8()), "b": pa.map_(pa.string(), pa.int8())})
    schema = pa.schema(
        {
            "s": inner,
            "d": pa.dictionary(pa.int8(), pa.string()),
            "l": pa.list_(inner),
            "x": pa.int8(),
        }
    )
    buffer = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), buffer)
    paths = pq.read_metadata(pa.BufferReader(buffer.getvalue())).schema
    found = {name: paths.column(at).path for name, at in first_leaves(schema).items()}
    assert [path.partition(".")[0] for path in found.values()] == list(found)


def test_keys_of_one_row_group_have_a_bound_that_each_row_group_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "KEY_BYTES_PER_GROUP", 1_000)
    monkeypatch.setattr(parts, "ROWS_PER_GROUP", 10)
    schema = pa.schema({"s": pa.string(), "embedding": pa.list_(pa.float32(), 1)})
    writer = PartWriter(tmp_path / "x.parquet", schema)

    def add(rows: int, length: int) -> None:
        keys = pa.array(["k" * length] * rows)
        batch = pa.RecordBatch.from_arrays(
            [keys, pa.array([[1.0]] * rows, schema.field(1).type)], schema=schema
        )
        writer.write(batch)

    for _ in range(20):
        add(7, 80)
    with pytest.raises(DataError, match="name rows by less"):
        add(9, 120)
    writer.close()
