"""rollback, gc and resolve as an operator calls them: what they say, and how they end."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

Cli = Callable[..., Any]


@pytest.fixture
def published(
    cli_here: Cli, bundle: Path, table: Cli, folder_of: Cli, tmp_path: Path
) -> tuple[Path, list[str]]:
    """A destination with two versions, of 50 and of 60 rows, and their run ids."""
    runs = []
    for rows in (50, 60):
        source = folder_of(tmp_path / "in", table(rows))
        done = cli_here("embed", bundle, source, tmp_path / "out", "--json")
        runs.append(done.document["run_id"])
    return tmp_path / "out", runs


def rows(destination: Path) -> int:
    return int(pq.read_table(destination / "current").num_rows)


def test_rollback_moves_readers_and_unpin_moves_them_back(
    cli_here: Cli, published: tuple[Path, list[str]]
) -> None:
    out, runs = published
    told = cli_here("rollback", out, "--json").document
    assert (told["run_id"], told["previous"], told["pinned"]) == (*runs, True)
    assert rows(out) == 50
    lines = cli_here("rollback", out, "--unpin").out
    assert runs[1] in lines
    assert rows(out) == 60


def test_rollback_takes_the_run_that_inspect_shows(
    cli_here: Cli, published: tuple[Path, list[str]]
) -> None:
    out, runs = published
    shown = cli_here("inspect", out).out
    assert runs[0][:12] in shown
    assert cli_here("rollback", out, runs[0][:12], "--json").document["run_id"] == runs[0]


def test_embed_and_inspect_say_that_readers_are_pinned(
    cli_here: Cli, bundle: Path, table: Cli, folder_of: Cli, published: tuple[Path, list[str]]
) -> None:
    out, runs = published
    cli_here("rollback", out)
    done = cli_here("embed", bundle, folder_of(out.parent / "in", table(70)), out)
    assert (done.code, rows(out)) == (0, 50)
    assert f"stays pinned at {runs[0]}" in " ".join(done.out.split())
    assert "rollback" in done.out and "--unpin" in done.out
    assert cli_here("inspect", out, "--json").document["pinned"] is True


def test_resolve_lists_one_path_a_line(cli_here: Cli, published: tuple[Path, list[str]]) -> None:
    out, runs = published
    lines = cli_here("resolve", out).out.splitlines()
    assert [Path(line).is_file() for line in lines] == [True]
    told = cli_here("resolve", out, runs[0], "--json").document
    assert (told["run_id"], told["rows"], len(told["files"])) == (runs[0], 50, 1)
    assert told["model"] == cli_here("inspect", out, "--json").document["versions"][0]["model"]


def test_gc_says_what_it_deleted_and_what_waits(
    cli_here: Cli, published: tuple[Path, list[str]]
) -> None:
    out, runs = published
    (out / "_stage" / "0123").mkdir()
    first = cli_here("gc", out, "--keep", 1, "--json").document
    assert (first["versions"], first["waiting"]) == ([], runs[:1])
    assert first["leftovers"] == ["_stage/0123"]
    second = cli_here("gc", out, "--keep", 1, "--grace", "0s")
    assert runs[0] in second.out
    assert rows(out) == 60


@pytest.mark.parametrize(
    ("words", "code", "needed"),
    [
        (["rollback", "OUT", "nosuch"], 3, "inspect"),
        (["rollback", "OUT", "../in"], 3, "inspect"),
        (["rollback", "OUT", "x", "--unpin"], 2, "leave one of them out"),
        (["resolve", "OUT", "nosuch"], 3, "inspect"),
        (["gc", "OUT", "--grace", "soon"], 2, "15m"),
        (["gc", "OUT", "--keep", "0"], 2, "greater than or equal to 1"),
        (["rollback", "nowhere"], 3, "check the path"),
        (["resolve", "nowhere"], 3, "check the path"),
        (["gc", "nowhere"], 3, "check the path"),
    ],
    ids=str,
)
def test_what_cannot_be_ends_with_its_code_and_says_what_to_do(
    cli_here: Cli, published: tuple[Path, list[str]], words: list[str], code: int, needed: str
) -> None:
    out, runs = published
    done = cli_here(*(str(out) if word == "OUT" else word for word in words))
    assert done.code == code, done.err
    assert needed in done.err
    assert cli_here("inspect", out, "--json").document["current"] == runs[1]


@pytest.mark.parametrize("words", [["rollback"], ["rollback", "--unpin"], ["gc"]], ids=str)
def test_while_a_run_holds_the_destination_they_end_with_4(
    cli_here: Cli, published: tuple[Path, list[str]], words: list[str]
) -> None:
    out, _ = published
    held = os.open(out / "_lock", os.O_RDWR)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = cli_here(words[0], out, *words[1:])
    finally:
        os.close(held)
    assert done.code == 4
    assert "held by another run" in done.err


def test_reading_needs_no_lock(cli_here: Cli, published: tuple[Path, list[str]]) -> None:
    out, _ = published
    held = os.open(out / "_lock", os.O_RDWR)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        codes = [cli_here(word, out).code for word in ("resolve", "inspect", "verify")]
    finally:
        os.close(held)
    assert codes == [0, 0, 0]
