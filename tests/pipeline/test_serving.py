"""The serving install: what it imports, and that it needs nothing else."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from packaging.requirements import Requirement

from pipeline.bundle import Bundle

ROOT = Path(__file__).parents[2]
ABSENT = ("torch", "prefect", "pandas", "sklearn", "matplotlib", "onnxscript")

RUN = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
sys.argv = ["parquet2vec", *json.loads(sys.argv[2])]
from flows.cli import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
print(json.dumps([name for name in sys.modules if "." not in name]), file=sys.stderr)
"""


def requirements(root: Distribution) -> dict[str, Distribution]:
    """What `root` requires without extras, and what that requires, by name."""
    found: dict[str, Distribution] = {}
    waiting = [root]
    while waiting:
        for text in waiting.pop().requires or []:
            needed = Requirement(text)
            name = re.sub(r"[-_.]+", "-", needed.name).lower()
            if name not in found and (
                needed.marker is None or needed.marker.evaluate({"extra": ""})
            ):
                found[name] = distribution(needed.name)
                waiting.append(found[name])
    return found


@pytest.fixture(scope="module")
def serving_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the serving install and our four packages."""
    site = tmp_path_factory.mktemp("site")
    for dist in requirements(distribution("parquet2vec")).values():
        for file in dist.files or []:
            top = file.parts[0]
            if top != ".." and not (site / top).exists():
                (site / top).symlink_to(Path(str(dist.locate_file(top))))
    for package in ("pipeline", "training", "export", "flows"):
        (site / package).symlink_to(ROOT / package)
    return site


def run(site: Path, *arguments: str) -> tuple[str, list[str]]:
    """Standard output and imported top-level modules of the command line."""
    code = [sys.executable, "-I", "-S", "-c", RUN, json.dumps([str(site)]), json.dumps(arguments)]
    done = subprocess.run(code, capture_output=True, text=True, timeout=120, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(done.stderr.splitlines()[-1])


@pytest.mark.integration
def test_the_serving_install_embeds(
    serving_site: Path, bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    destination = tmp_path / "to"
    out, modules = run(
        serving_site, "embed", str(bundle.path), str(source), str(destination), "--json"
    )
    assert json.loads(out)["rows"] == pq.read_table(destination / "current").num_rows == 3_000
    assert not set(ABSENT) & set(modules)


@pytest.mark.integration
@pytest.mark.parametrize("arguments", [["--help"], ["embed", "--help"], ["train", "--help"]])
def test_help_loads_no_arrow_and_no_runtime(serving_site: Path, arguments: list[str]) -> None:
    _, modules = run(serving_site, *arguments)
    assert not {*ABSENT, "pyarrow", "onnx", "onnxruntime", "numpy"} & set(modules)


@pytest.mark.integration
@pytest.mark.parametrize("what", ["bundle", "source", "destination"])
def test_the_serving_install_inspects_and_verifies(
    serving_site: Path, bundle: Bundle, source: Path, tmp_path: Path, what: str
) -> None:
    run(serving_site, "embed", str(bundle.path), str(source), str(tmp_path / "to"), "--json")
    path = {"bundle": bundle.path, "source": source, "destination": tmp_path / "to"}[what]
    for verb in ("inspect", "verify")[: 1 if what == "source" else 2]:
        out, modules = run(serving_site, verb, str(path), "--json")
        assert json.loads(out)
        assert not set(ABSENT) & set(modules)


@pytest.mark.integration
def test_the_serving_install_writes_the_page_of_a_history(
    serving_site: Path, bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    run(serving_site, "embed", str(bundle.path), str(source), str(tmp_path / "to"), "--json")
    page = tmp_path / "history.html"
    _, modules = run(serving_site, "inspect", str(tmp_path / "to"), "--html", str(page))
    assert "3,000 rows" in page.read_text()
    assert not set(ABSENT) & set(modules)


@pytest.mark.integration
def test_a_job_imports_none_of_them_even_where_they_are_installed(
    bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    job = ["embed", str(bundle.path), str(source), str(tmp_path / "to"), "--json"]
    code = [sys.executable, "-c", RUN, "[]", json.dumps(job)]
    done = subprocess.run(code, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not set(ABSENT) & set(json.loads(done.stderr.splitlines()[-1]))


def test_the_runtime_notes_nothing_about_its_user(bundle: Bundle, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code = "import sys, pipeline; pipeline.Encoder.open(sys.argv[1])"
    given = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}
    given = {**given, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    subprocess.run([sys.executable, "-c", code, str(bundle.path)], env=given, check=True)
    assert list(home.iterdir()) == []
