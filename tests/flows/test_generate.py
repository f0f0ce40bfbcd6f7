"""`generate` as people call it: a file, a page, or one clear message and no file."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

Cli = Callable[..., Any]


def test_generate_writes_the_columns_that_the_model_knows(
    cli: Cli, bundle: Path, source: Path, tmp_path: Path
) -> None:
    done = cli("generate", bundle, "--rows", 300, "--out", tmp_path / "drawn.parquet", "--json")
    assert done.code == 0, done.err
    told = done.document["generation"]
    drawn, real = pq.read_table(tmp_path / "drawn.parquet"), pq.read_table(source)
    assert (told["rows"], told["columns"], done.document["comparison"]) == (300, 4, None)
    assert drawn.schema.equals(real.select(drawn.column_names).schema, check_metadata=False)
    assert drawn.column_names == ["delay", "distance", "carrier", "weekend"]
    assert "(100 %)" in done.err


def test_generate_compares_and_writes_the_page_into_the_bundle(
    cli_here: Cli, bundle: Path, table: Cli, folder_of: Cli, tmp_path: Path
) -> None:
    model, real = shutil.copytree(bundle, tmp_path / "model"), folder_of(tmp_path / "in", table())
    out = tmp_path / "drawn.parquet"
    done = cli_here("generate", model, "--rows", 400, "--out", out, "--compare", real)
    assert done.code == 0, done.err
    assert "boosted trees name the drawn one" in " ".join(done.out.split())
    assert "generated rows" in (model / "report" / "generated.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--where", "carrier=UA"], 2, ("conditions", "--recipe cvae")),
        (["--where", "carrier"], 2, ("generate.where", "country=IT")),
        (["--where", "a=1", "--where", "a=2"], 2, ("generate.where", "one condition a column")),
        (["--seed", "-1"], 2, ("generate.seed",)),
        (["--html", "page.html"], 2, ("generate.html", "--compare")),
        (["--compare", "nowhere"], 3, ("nowhere", "does not exist")),
    ],
    ids=str,
)
def test_what_cannot_be_drawn_is_told_and_no_file_is_written(
    cli_here: Cli, bundle: Path, tmp_path: Path, options: list[str], code: int, words: tuple[str]
) -> None:
    out = tmp_path / "drawn.parquet"
    done = cli_here("generate", bundle, "--rows", 10, "--out", out, *options)
    assert (done.code, done.out) == (code, "")
    assert all(word in done.err for word in words), done.err
    assert list(tmp_path.iterdir()) == []


def test_rows_that_are_too_few_to_compare_are_written_and_that_is_told(
    cli_here: Cli, bundle: Path, table: Cli, folder_of: Cli, tmp_path: Path
) -> None:
    real, out = folder_of(tmp_path / "in", table()), tmp_path / "drawn.parquet"
    done = cli_here("generate", bundle, "--rows", 20, "--out", out, "--compare", real)
    assert done.code == 3
    assert f"{out} is written, and was not compared" in " ".join(done.err.split())
    assert pq.read_table(out).num_rows == 20


def test_a_bundle_from_before_rows_could_be_drawn_is_refused(
    cli_here: Cli, bundle: Path, tmp_path: Path
) -> None:
    from pipeline.bundle import Bundle

    old = Bundle.open(bundle)
    files = {name: old.read(name) for name in old.manifest.files if name != "generation.json"}
    Bundle.write(tmp_path / "old", manifest=old.manifest, files=files)
    done = cli_here("generate", tmp_path / "old", "--rows", 1, "--out", tmp_path / "x.parquet")
    assert done.code == 3
    assert "train it again" in done.err


def test_a_folder_that_is_not_there_is_told(cli_here: Cli, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "nowhere" / "drawn.parquet"
    done = cli_here("generate", bundle, "--rows", 1, "--out", out)
    assert (done.code, "make" in done.err) == (2, True)
