"""`parquet2vec flow` in a process of its own, from a folder that holds other people's packages."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.flows

Cli = Callable[..., Any]


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder whose packages have our names and fail when imported."""
    for name in ("flows", "pipeline", "export", "training"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not ours')")
    return tmp_path


def configured(path: Path, bundle: Path, source: Path) -> Path:
    path.write_text(
        f'[embed]\nbundle = "{bundle}"\nsource = "{source}"\ndestination = "embeddings"\n'
    )
    return path


def test_a_flow_needs_no_server_and_answers_with_one_document(
    cli: Cli, bundle: Path, source: Path, foreign: Path
) -> None:
    config = configured(foreign / "parquet2vec.toml", bundle, source)
    done = cli("flow", "embed", config, "--json", cwd=foreign)
    assert done.code == 0, done.err
    assert done.document["rows"] == 800
    assert "Starting temporary server" in done.err
    assert "Traceback" not in done.err


@pytest.mark.usefixtures("prefect")
def test_a_refused_input_ends_a_flow_with_one_message_and_its_exit_code(
    command: str, bundle: Path, tmp_path: Path
) -> None:
    from prefect.settings import PREFECT_API_URL

    config = configured(tmp_path / "parquet2vec.toml", bundle, tmp_path / "nowhere")
    done = subprocess.run(
        [command, "flow", "embed", str(config), "--json"],
        env={**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]["type"] == "DataError"
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("parquet2vec: ")] == [
        f"parquet2vec: {tmp_path}/nowhere does not exist; give a Parquet file or a folder of them"
    ]


@pytest.mark.integration
@pytest.mark.usefixtures("prefect")
def test_dask_workers_find_our_packages_from_a_folder_of_foreign_ones(
    command: str, bundle: Path, source: Path, foreign: Path
) -> None:
    from prefect.settings import PREFECT_API_URL

    config = configured(foreign / "parquet2vec.toml", bundle, source)
    done = subprocess.run(
        [command, "flow", "embed", str(config), "--runner", "dask", "--json"],
        cwd=foreign,
        env={**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["computed"] == 2
    # On a busy machine Dask tells that a worker takes its time to end.
    told = [line for line in done.stderr.splitlines() if "WARN" in line]
    assert [line for line in told if "still alive after" not in line] == []
