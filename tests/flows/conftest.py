"""Tiny tables, a bundle trained on one of them, and the command line in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from flows.cli import app

COMMAND = str(Path(sys.executable).with_name("parquet2vec"))
ROWS = 600


def make_table(rows: int = ROWS, *, seed: int = 0, first: int = 0) -> pa.Table:
    """Mixed columns with nulls; `late` depends on `delay` and `carrier`."""
    random = np.random.default_rng(seed)
    delay = random.normal(10.0, 5.0, rows)
    carrier = random.choice(["UA", "DL", "Ø☃", "AA"], rows)
    return pa.table(
        {
            "id": pa.array(np.arange(first, first + rows) + 2**60, pa.int64()),
            "at": pa.array(np.arange(rows) * 3_600_000_000, pa.timestamp("us")),
            "delay": pa.array(delay, mask=random.random(rows) < 0.1),
            "distance": pa.array(random.exponential(900.0, rows) + delay, pa.float32()),
            "carrier": pa.array(carrier, mask=random.random(rows) < 0.05),
            "weekend": pa.array(random.random(rows) < 0.3),
            "late": pa.array(((delay > 12) | (carrier == "UA")).astype(np.int64)),
        }
    )


def write(folder: Path, *tables: pa.Table) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for place, table in enumerate(tables):
        pq.write_table(table, folder / f"file-{place}.parquet")
    return folder


def project_text(folder: Path) -> str:
    return f"""
[train]
source = "{folder}"
key = ["id"]
label = ["late"]
ignore = ["at"]
recipe = "linear"
dim = 3

[embed]
source = "{folder}"
destination = "embeddings"
threads = 2

[refresh]
models = "models"
"""


@pytest.fixture
def project(source: Path, tmp_path: Path) -> Path:
    """A project file in a folder of its own."""
    path = tmp_path / "parquet2vec.toml"
    path.write_text(project_text(source), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table") / "features"
    return write(folder, make_table(), make_table(200, seed=1, first=ROWS))


@dataclass
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)


def run(*words: object, cwd: Path | None = None) -> Finished:
    """The command line with `words`, in a process of its own."""
    done = subprocess.run(
        [COMMAND, *map(str, words)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def command() -> str:
    """Path of the installed command."""
    return COMMAND


@pytest.fixture(scope="session")
def cli() -> Callable[..., Finished]:
    """Runs the command line: `cli("embed", bundle, source, "out", cwd=folder)`."""
    return run


@pytest.fixture(scope="session")
def cli_here() -> Callable[..., Finished]:
    """The same in this process, which has imported everything already."""

    def invoke(*words: object) -> Finished:
        done = CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)
        return Finished(done.exit_code, done.stdout, done.stderr)

    return invoke


@pytest.fixture(scope="session")
def table() -> Callable[..., pa.Table]:
    """Makes a tiny table: `table(rows, seed=, first=)`."""
    return make_table


@pytest.fixture(scope="session")
def folder_of() -> Callable[..., Path]:
    """Writes tables as a Parquet folder: `folder_of(path, table, ...)`."""
    return write


@pytest.fixture(scope="session")
def trained(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """A bundle made by `parquet2vec train --json`, and how that command ended."""
    out = tmp_path_factory.mktemp("models") / "model"
    words = ["--key", "id", "--label", "late", "--ignore", "at", "--recipe", "linear", "--dim", 3]
    done = run("train", source, "--out", out, *words, "--json")
    assert done.code == 0, done.err
    return out, done


@pytest.fixture(scope="session")
def bundle(trained: tuple[Path, Finished]) -> Path:
    return trained[0]


@pytest.fixture(scope="session")
def prefect() -> Iterator[None]:
    """A Prefect server for the tests of this process."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield
