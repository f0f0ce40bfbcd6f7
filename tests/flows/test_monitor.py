"""The command `monitor`: what it says, and the exit code that a scheduler sees."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

Cli = Callable[..., Any]


@pytest.fixture
def embedded(
    bundle: Path,
    cli_here: Cli,
    table: Callable[..., pa.Table],
    folder_of: Callable[..., Path],
    tmp_path: Path,
) -> Path:
    """A destination with a calm run and one whose `distance` is null."""
    source, to = folder_of(tmp_path / "table", table(500, seed=3)), tmp_path / "to"
    assert cli_here("embed", bundle, source, to).code == 0
    rows = table(500, seed=4, first=10_000)
    broken = rows.set_column(3, "distance", pa.nulls(500, pa.float32()))
    pq.write_table(broken, source / "broken.parquet")
    assert cli_here("embed", bundle, source, to).code == 0
    return to


def test_drift_is_told_and_fails_only_where_that_is_asked_for(
    embedded: Path, cli_here: Cli
) -> None:
    done = cli_here("monitor", embedded, "--json")
    found = json.loads(done.out)
    assert (done.code, found["drifted"]) == (0, True)
    assert found["columns"][0]["name"] == "distance"
    assert Path(found["picture"]).exists()
    failed = cli_here("monitor", embedded, "--fail-on-drift")
    assert failed.code == 1
    assert "drift in distance" in failed.out


def test_a_calm_run_passes(embedded: Path, cli_here: Cli) -> None:
    first = json.loads(cli_here("monitor", embedded, "--json").out)["previous"]
    done = cli_here("monitor", embedded, "--run", first, "--fail-on-drift")
    assert done.code == 0
    assert "no drift" in done.out
