"""encoder.onnx in places that know nothing of this product, fed by column name."""

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from export.runtime import Runtime, evaluate
from pipeline.bundle import Bundle
from pipeline.feed import feed
from training.checkpoint import Checkpoint

HERE = Path(__file__).parent
WEB = HERE.parent / "web"
UNSEEN = {"ciudad": ["東京", "zürich", "Ελλάδα", ""], "code": ["k1", "never", "", "k2"]}
TYPES = {"f8": "float64", "f4": "float32", "i8": "int64", "O": "string"}


@pytest.fixture(scope="module")
def rows(new_table: Any, checkpoint: Checkpoint) -> dict[str, Any]:
    """Model inputs with nulls of every kind, unknown categories and non-ASCII text."""
    table: pa.Table = new_table(40, seed=5)
    feeds = {name: values.copy() for name, values in feed(table, checkpoint.schema).items()}
    for name, values in UNSEEN.items():
        feeds[name][: len(values)] = values
    nothing = feed(table.slice(0, 1), checkpoint.schema)
    feeds["pixels"][3] = np.nan
    assert np.isnan(feeds["amount"]).any() and (feeds["when"] == np.iinfo(np.int64).min).any()
    assert nothing.keys() == feeds.keys()
    return feeds


@pytest.fixture(scope="module")
def expected(bundle: Bundle, rows: dict[str, Any]) -> np.ndarray:
    return Runtime(bundle.read("encoder.onnx"))(rows)["embedding"]


@pytest.fixture
def case(bundle: Bundle, rows: dict[str, Any], tmp_path: Path) -> Path:
    """The rows as tests/web/run.mjs and foreign_runtime.py read them."""
    inputs = {name: _told(values) for name, values in rows.items()}
    path = tmp_path / "case.json"
    path.write_text(json.dumps({"model": str(bundle.path / "encoder.onnx"), "inputs": inputs}))
    return path


def _told(values: np.ndarray) -> dict[str, Any]:
    kind = TYPES[values.dtype.str.lstrip("<|")]
    data = values.ravel().tolist()
    if kind.startswith("float"):
        data = [None if value != value else value for value in data]
    elif kind == "int64":
        data = [str(value) for value in data]
    return {"type": kind, "dims": list(values.shape), "data": data}


def _link_distributions(folder: Path, *names: str) -> None:
    """Link what the distributions `names` and their own requirements installed into `folder`."""
    waiting, done = list(names), set[str]()
    while waiting:
        name = waiting.pop()
        if name in done:
            continue
        done.add(name)
        found = distribution(name)
        for top in {Path(str(path)).parts[0] for path in found.files or ()} - {"..", "__pycache__"}:
            source = Path(str(found.locate_file(top)))
            if source.exists() and not (folder / top).exists():
                (folder / top).symlink_to(source)
        needed = [one for one in found.requires or () if "extra ==" not in one]
        waiting += [re.split(r"[ <>=!~;\[(]", one)[0] for one in needed]


@pytest.mark.integration
def test_numpy_and_onnxruntime_are_enough(case: Path, expected: np.ndarray, tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    _link_distributions(packages, "numpy", "onnxruntime")
    assert not {"torch", "onnx", "pyarrow", "pipeline"} & {p.name for p in packages.iterdir()}
    script = HERE / "foreign_runtime.py"
    run = [sys.executable, "-I", "-S", script, packages, case, tmp_path / "found.npy"]
    finished = subprocess.run(run, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout) == []
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), expected, atol=1e-5)


@pytest.mark.integration
def test_a_browser_s_runtime_gives_the_same_vectors(case: Path, expected: np.ndarray) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed")
    if not (WEB / "node_modules" / "onnxruntime-web").is_dir():
        pytest.skip("onnxruntime-web is not installed: run `make web`")
    run = [node, WEB / "run.mjs", case]
    finished = subprocess.run(run, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    told = json.loads(finished.stdout)
    found = np.array(told["data"], np.float32).reshape(told["dims"])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_specification_s_own_evaluator_gives_the_same_vectors(
    bundle: Bundle, rows: dict[str, Any], expected: np.ndarray
) -> None:
    found = evaluate(bundle.read("encoder.onnx"), rows)["embedding"]
    np.testing.assert_allclose(found, expected, atol=1e-5)
