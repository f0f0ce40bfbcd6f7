"""Every code block on every page, run from an empty folder in order, as a reader would."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from run_page import blocks, given, run

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

OURS = [str(HERE / "bin"), str(Path(sys.executable).parent)]  # a pip that only looks, our command

START = "docs/quick-start.md"
# Other pages with code. Those that take over ten seconds, most with a Prefect server, are slow.
QUICK = [
    "docs/commands.md",
    "docs/concepts.md",
    "docs/howto/delta.md",
    "docs/howto/images.md",
    "docs/howto/lance.md",
    "docs/howto/logs.md",
    "docs/howto/mlflow.md",
    "docs/howto/object-stores.md",
    "docs/howto/observability.md",
    "docs/howto/prefect-server.md",
]
SLOW = [
    "README.md",
    "docs/howto/drift.md",
    "docs/howto/feast.md",
    "docs/howto/models.md",
    "docs/howto/schedules.md",
]
# Pages of which every block is marked as not run.
NEVER = ["docs/howto/sign-a-model.md", "examples/README.md"]

PAGES = [*QUICK, *(pytest.param(page, marks=pytest.mark.slow) for page in SLOW)]


def written() -> list[Path]:
    """Every page that is ours."""
    return [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
    ]


def environment(home: Path) -> dict[str, str]:
    """What a reader's shell has: our commands first, no settings of the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    kept.pop("PYTHONSAFEPATH", None)
    kept.pop("PYTHONPATH", None)
    return {
        **kept,
        "HOME": str(home),
        "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1",
        "PATH": os.pathsep.join(
            [str(HERE / "bin"), str(Path(sys.executable).parent), kept["PATH"]]
        ),
        "PREFECT_HOME": str(home / ".prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }


def run_page(page: str, folder: Path, *given_from: Path) -> None:
    """Run a page in an empty folder inside `folder`, where it stays."""
    empty, home = folder / "folder", folder / "home"
    empty.mkdir()
    home.mkdir()
    command = [sys.executable, str(HERE / "run_page.py"), str(ROOT / page), *map(str, given_from)]
    done = subprocess.run(
        command, cwd=empty, env=environment(home), capture_output=True, text=True, timeout=590
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"


@pytest.fixture(scope="session")
def quick_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the quick start at its end: what other pages may say that they are given."""
    folder = tmp_path_factory.mktemp("quick-start")
    run_page(START, folder)
    return folder / "folder"


def test_the_quick_start_runs(quick_start: Path) -> None:
    assert (quick_start / "embeddings" / "current").exists()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_runs(
    page: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    needs = given((ROOT / page).read_text(encoding="utf-8"))
    run_page(page, tmp_path, *([request.getfixturevalue("quick_start")] if needs else []))
    shutil.rmtree(tmp_path)


def test_no_page_with_code_is_left_out() -> None:
    with_code = {
        page.relative_to(ROOT).as_posix(): list(blocks(page.read_text(encoding="utf-8")))
        for page in written()
    }
    runs = {page for page, found in with_code.items() if any(block.is_run for block in found)}
    never = {page for page, found in with_code.items() if found} - runs
    assert (sorted(runs), sorted(never)) == (sorted([START, *QUICK, *SLOW]), sorted(NEVER))


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page to write, beside which its blocks run."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "PATH"):
        monkeypatch.setenv(name, environment(tmp_path)[name])
    return tmp_path / "page.md"


def test_python_and_shell_keep_what_they_have_between_blocks(
    page: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    page.write_text(
        "```python\nx = 1\n```\n```sh\nmkdir sub\ncd sub\nexport WHO=me\n```\n"
        "```sh\necho $WHO $(basename $PWD)\n```\n```python\nprint(x + 1, flush=True)\n```\n"
    )
    run(page)
    assert capfd.readouterr().out == "me sub\n2\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```python\n1 / 0\n```\n", "page.md:2"),
        ("```sh\nfalse\ntrue\n```\n", "page.md:2"),
        ("```sh\nfalse | true\n```\n", "page.md:2"),
        ("```toml\n[train]\ndimm = 3\n```\n", "dimm"),
        ("```toml\n[train\n```\n", "page.md:2"),
        ("```json\n{,}\n```\n", "page.md:2"),
        ("```ini\nnot a setting\n```\n", "no settings"),
        ("```rust\nfn main() {}\n```\n", "cannot be run"),
        ("```sh\npip install no-such-package\n```\n", "is not installed"),
        ("```sh\npip install 'parquet2vec[nothing]'\n```\n", "has no extra nothing"),
        ("```python\n1 / 0\n", "not closed"),
    ],
)
def test_what_does_not_run_fails_and_says_where(
    text: str, said: str, page: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    page.write_text(text)
    with pytest.raises((ArithmeticError, ValueError, subprocess.CalledProcessError)) as caught:
        run(page)
    assert said in f"{caught.value} {capfd.readouterr().err}"


def test_a_marked_block_is_not_run_and_output_is_no_code(page: Path) -> None:
    page.write_text("<!-- not run: needs a bucket -->\n```sh\nfalse\n```\n\n```\nit says\n```\n")
    run(page)
