"""A newcomer's first minutes: help, usage errors, and nothing heavy loaded for them."""

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from flows.cli import app

COMMAND = str(Path(sys.executable).with_name("parquet2vec"))
ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "prefect", "pyarrow", "onnxruntime", "pandas", "sklearn", "numpy")


def commands(group: Any = None, prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    found: dict[tuple[str, ...], Any] = {}
    for name, command in (group or get_command(app)).commands.items():
        path = (*prefix, name)
        found |= commands(command, path) if hasattr(command, "commands") else {path: command}
    return found


COMMANDS = commands()


def test_the_commands_are_those_of_the_design() -> None:
    assert sorted(" ".join(path) for path in COMMANDS) == [
        "demo",
        "embed",
        "evaluate",
        "flow backfill",
        "flow embed",
        "flow monitor",
        "flow refresh",
        "flow train",
        "gc",
        "generate",
        "init",
        "inspect",
        "models add",
        "models diff",
        "models gc",
        "models list",
        "models promote",
        "models rollback",
        "models show",
        "monitor",
        "publish",
        "resolve",
        "rollback",
        "serve",
        "train",
        "verify",
    ]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(path: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*path, "--help"])
    assert done.exit_code == 0
    assert f"$ parquet2vec {' '.join(path)}" in done.output


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_of_a_command_is_described(path: tuple[str, ...]) -> None:
    assert [option.name for option in COMMANDS[path].params if not option.help] == []


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_answers_in_json_and_shows_tracebacks_on_demand(
    path: tuple[str, ...],
) -> None:
    offered = {flag for option in COMMANDS[path].params for flag in option.opts}
    assert {"--json", "--debug"} <= offered


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_stands_in_the_documentation(path: tuple[str, ...]) -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    written = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    assert f"parquet2vec {' '.join(path)}" in written


def loaded_by(*words: str) -> tuple[int, list[str]]:
    """Exit code of the command line, and which heavy packages it loaded."""
    script = (
        "import json, sys\n"
        "from flows.cli import main\n"
        f"sys.argv = ['parquet2vec', *{list(words)!r}]\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n"
        f"    heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "    print(json.dumps([end.code, heavy]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    code, heavy = json.loads(done.stdout.splitlines()[-1])
    return code, heavy


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        (["train", "--help"], 0),
        (["flow", "refresh", "--help"], 0),
        (["--version"], 0),
        (["tran"], 2),
        (["embed", "model"], 2),
        (["train"], 2),
        (["train", "table", "--out", "model", "--dim", "0"], 2),
        (["train", "table", "--out", "model", "--config", "nowhere.toml"], 2),
        (["embed", "m", "s", "d", "--vector", "round"], 2),
        (["embed", "m", "s", "d", "--memory", "much"], 2),
        (["evaluate", "model", "table"], 2),
        (["generate", "model", "--rows", "0", "--out", "drawn.parquet"], 2),
        (["generate", "model", "--rows", "1", "--out", "drawn.csv"], 2),
        (["generate", "model", "--rows", "1", "--out", "drawn.parquet", "--where", "x"], 2),
        (["generate", "model", "--rows", "1", "--out", "drawn.parquet", "--html", "x.html"], 2),
        (["gc", "d", "--grace", "soon"], 2),
        (["flow", "embed", "nowhere.toml"], 2),
    ],
    ids=str,
)
def test_help_and_usage_errors_load_nothing_heavy(words: list[str], code: int) -> None:
    assert loaded_by(*words) == (code, [])


def test_embedding_loads_neither_torch_nor_prefect_nor_pandas() -> None:
    code, heavy = loaded_by("embed", "nowhere", "nowhere", "nowhere")
    assert code == 3
    assert not {"torch", "prefect", "pandas", "sklearn"} & set(heavy)


def test_help_is_there_within_half_a_second() -> None:
    def cpu_seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([COMMAND, "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Processor time, the least of several: the machine may be busy with other tests.
    assert min(cpu_seconds() for _ in range(3)) < 0.5
