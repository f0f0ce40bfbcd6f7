"""What is published is read by other engines as it is: every layout, every value, to the bit."""

import json
import os
import subprocess
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any

import duckdb
import lance
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pipeline import Bundle, EmbeddingJob, embed

ROWS = 500
DIM = 4
ROOT = Path(__file__).parents[2]
# An environment that has Spark: `make peers CLUSTER=1`.
SPARK = Path(os.environ.get("SPARK_PYTHON", ROOT / ".venv-peers" / "bin" / "python"))
LAYOUTS = {
    "fixed": {},
    "list": {"vector": "list"},
    "wide": {"vector": "wide"},
    "fixed float16": {"dtype": "float16"},
}
# DuckDB would fetch what a query might need.
OFFLINE = {"autoinstall_known_extensions": "false"}
Rows = list[dict[str, Any]]


def table_of(rows: int = ROWS) -> pa.Table:
    """Keys beyond 2^53, with nulls, as text; times with a zone."""
    random = np.random.default_rng(0)
    return pa.table(
        {
            "id": pa.array(2**60 + np.arange(rows)),
            "parent": pa.array([None if n % 7 == 0 else 2**60 + n for n in range(rows)]),
            "name": pa.array([None if n % 5 == 0 else f"Ø{n}" for n in range(rows)]),
            "at": pa.array(np.arange(rows) * 60_000_001, pa.timestamp("us", "UTC")),
            "amount": pa.array(random.normal(size=rows)),
        }
    )


@pytest.fixture
def published(tmp_path: Path, bundle_of: Callable[..., Bundle]) -> Callable[..., Path]:
    """Publishes the table in a layout; gives the folder that readers open."""

    def publish(layout: str) -> Path:
        table = table_of()
        source = tmp_path / "table"
        source.mkdir()
        for place in range(2):
            half = table.slice(place * ROWS // 2, ROWS // 2)
            pq.write_table(half, source / f"{place}.parquet")
        keys = ["id", "parent", "name"]
        model = bundle_of(table, keys=keys, event_time="at")
        words = {"bundle": model.path, "source": source, "destination": tmp_path / "to"}
        job = {name: str(path) for name, path in words.items()} | LAYOUTS[layout]
        embed(EmbeddingJob.model_validate(job))
        return tmp_path / "to" / "current"

    return publish


def by_arrow(folder: Path) -> Rows:
    return ds.dataset(folder).to_table().to_pylist()


def by_pandas(folder: Path) -> Rows:
    # pandas' own types round integers beside nulls.
    frame = pd.read_parquet(folder, dtype_backend="pyarrow")
    return [
        {name: None if value is pd.NA else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def by_polars(folder: Path) -> Rows:
    return pl.read_parquet(folder / "*.parquet").to_dicts()


def by_duckdb(folder: Path) -> Rows:
    with duckdb.connect(config=OFFLINE) as connection:
        query = connection.sql(f"select * from read_parquet('{folder}/*.parquet')")
        return query.to_arrow_table().to_pylist()


def by_lance(folder: Path) -> Rows:
    data = lance.write_dataset(ds.dataset(folder), folder.parent / "lance")
    return data.to_table().to_pylist()


ENGINES: dict[str, Callable[[Path], Rows]] = {
    "pandas": by_pandas,
    "polars": by_polars,
    "duckdb": by_duckdb,
    "lance": by_lance,
}


def plain(rows: Rows) -> Rows:
    """Rows in order of their key; vectors as lists, times in UTC."""

    def one(value: Any) -> Any:
        if hasattr(value, "tolist"):
            return value.tolist()
        return value.astimezone(UTC) if hasattr(value, "astimezone") else value

    found = [{name: one(value) for name, value in row.items()} for row in rows]
    return sorted(found, key=lambda row: row["id"])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_reads_what_was_published(
    published: Callable[..., Path], engine: str, layout: str
) -> None:
    folder = published(layout)
    found = plain(ENGINES[engine](folder))
    assert found == plain(by_arrow(folder))
    keys = ["id", "parent", "name", "at"]
    assert [[row[key] for key in keys] for row in found] == [
        [row[key] for key in keys] for row in plain(table_of().to_pylist())
    ]


@pytest.mark.parametrize("layout", ["fixed", "list"])
def test_duckdb_searches_by_distance(published: Callable[..., Path], layout: str) -> None:
    folder = published(layout)
    with duckdb.connect(config=OFFLINE) as connection:
        nearest = connection.execute(
            f"""
            from read_parquet('{folder}/*.parquet')
            select id
            order by array_distance(embedding::float[{DIM}], $wanted::float[{DIM}])
            limit 1
            """,
            {"wanted": plain(by_arrow(folder))[7]["embedding"]},
        ).fetchone()
    assert nearest == (2**60 + 7,)


def test_lance_searches_by_distance(published: Callable[..., Path]) -> None:
    folder = published("fixed")
    data = lance.write_dataset(ds.dataset(folder), folder.parent / "lance")
    wanted = np.array(plain(by_arrow(folder))[7]["embedding"], np.float32)
    found = data.to_table(columns=["id"], nearest={"column": "embedding", "q": wanted, "k": 1})
    assert found["id"].to_pylist() == [2**60 + 7]


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["fixed", "list", "wide"])
def test_spark_reads_what_was_published(
    published: Callable[..., Path], layout: str, tmp_path: Path
) -> None:
    check = [SPARK, "-c", "import pyspark"]
    if not SPARK.exists() or subprocess.run(check, capture_output=True).returncode:
        pytest.skip(f"{SPARK} has no Spark; make peers CLUSTER=1, or set SPARK_PYTHON")
    folder, out = published(layout), tmp_path / "rows.json"
    script = Path(__file__).with_name("spark_rows.py")
    done = subprocess.run([SPARK, script, folder, out], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    expected = [
        row | {"at": str(row["at"].replace(tzinfo=None))} for row in plain(by_arrow(folder))
    ]
    assert found["rows"] == expected
    if layout == "wide":
        assert found["types"]["embedding_0"] == "float"
    else:
        assert found["types"]["embedding"] == "array<float>"
