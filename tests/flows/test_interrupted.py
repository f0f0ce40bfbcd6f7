"""Killed and interrupted commands: the same command again goes on, and gives the same result."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import verbs
from pipeline.profile import RUN_PROFILE

Cli = Callable[..., Any]
POLL_SECONDS = 0.005


@pytest.fixture
def stopped(command: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Starts a command and sends it a signal as soon as `when()` is true."""

    def stop(
        *words: object, when: Callable[[], bool], by: signal.Signals = signal.SIGKILL
    ) -> subprocess.CompletedProcess[str]:
        arguments = [command, *map(str, words)]
        with subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ) as process:
            deadline = time.monotonic() + 120
            while process.poll() is None and not when():
                assert time.monotonic() < deadline, "the moment to stop it never came"
                time.sleep(POLL_SECONDS)
            assert process.poll() is None, "it ended before it could be stopped"
            process.send_signal(by)
            out, err = process.communicate(timeout=60)
            return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    return stop


@pytest.fixture
def many(table: Cli, folder_of: Cli, tmp_path: Path) -> Path:
    """Forty files of twenty thousand rows."""
    tables = [table(20_000, seed=n % 3, first=20_000 * n) for n in range(40)]
    return folder_of(tmp_path / "many", *tables)  # type: ignore[no-any-return]


def parts(destination: Path) -> dict[str, bytes]:
    """The bytes of all parts, and of what the run counted of its rows."""
    current = destination / "current"
    return {p.name: p.read_bytes() for p in (*current.glob("*.parquet"), current / RUN_PROFILE)}


def finished_parts(destination: Path, at_least: int) -> Callable[[], bool]:
    return lambda: len(list(destination.glob("_stage/*/*.parquet.json"))) >= at_least


def test_an_embedding_that_was_killed_resumes_with_the_same_files_and_bytes(
    cli: Cli, stopped: Cli, bundle: Path, many: Path, tmp_path: Path
) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    stopped("embed", bundle, many, killed, "--threads", 1, when=finished_parts(killed, 3))
    assert not (killed / "current").exists()
    again = cli("embed", bundle, many, killed, "--threads", 1, "--json").document
    assert again["resumed"] >= 3
    assert again["resumed"] + again["computed"] == 40
    assert cli("embed", bundle, many, whole).code == 0
    assert parts(killed) == parts(whole)


def test_an_interrupted_embedding_ends_with_one_line_and_130(
    stopped: Cli, bundle: Path, many: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = stopped(
        *("embed", bundle, many, out, "--threads", 1),
        when=finished_parts(out, 1),
        by=signal.SIGINT,
    )
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1].startswith("parquet2vec: interrupted")
    assert "Traceback" not in done.stderr


def test_a_training_that_was_killed_resumes_and_gives_the_same_bundle(
    cli: Cli, cli_here: Cli, stopped: Cli, source: Path, tmp_path: Path
) -> None:
    config = tmp_path / "parquet2vec.toml"
    config.write_text(
        f'[train]\nsource = "{source}"\nkey = ["id"]\nignore = ["at", "late"]\n'
        'recipe = "denoising"\ndim = 3\n'
        "[train.training]\nsteps = 400\nevaluate_every = 200\ncheckpoint_every = 20\n"
    )
    killed, whole = tmp_path / "killed", tmp_path / "whole"

    def has_a_checkpoint() -> bool:
        return (tmp_path / ".killed.work" / "denoising.safetensors").exists()

    stopped("train", "--config", config, "--out", killed, when=has_a_checkpoint)
    assert not killed.exists()
    assert cli("train", "--config", config, "--out", killed).code == 0
    assert cli_here("train", "--config", config, "--out", whole).code == 0
    assert not (tmp_path / ".killed.work").exists()
    sealed = [(out / "manifest.json").read_bytes() for out in (killed, whole)]
    assert sealed[0] == sealed[1]


@pytest.mark.parametrize(
    ("verb", "words", "told"),
    [
        ("train", ("train", "table", "--out", "model"), "goes on where it stopped"),
        ("generate", ("generate", "model", "--rows", 3, "--out", "x.parquet"), "begins anew"),
        ("evaluate", ("evaluate", "model", "table", "--label", "late"), "begins anew"),
    ],
)
def test_a_command_says_whether_it_goes_on_where_it_was_interrupted(
    cli_here: Cli, monkeypatch: pytest.MonkeyPatch, verb: str, words: tuple[object, ...], told: str
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verbs, verb, interrupted)
    done = cli_here(*words)
    assert (done.code, done.err.splitlines()[-1]) == (
        130, f"parquet2vec: interrupted; the same command again {told}"
    )  # fmt: skip
