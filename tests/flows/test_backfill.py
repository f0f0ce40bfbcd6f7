"""`flow backfill`: some days in a table beside the nightly one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.backfill import backfill_job
from pipeline.errors import ConfigError

DAYS = {"first_day": "2026-01-01", "last_day": "2026-01-31"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "parquet2vec.toml"
    path.write_text('[embed]\nbundle = "model"\nsource = "table"\ndestination = "vectors/"\n')
    return path


def test_it_goes_beside_the_nightly_table(config: Path, tmp_path: Path) -> None:
    job = backfill_job(config, **DAYS)
    assert job.destination == f"{tmp_path}/vectors.backfill"
    assert (str(job.first_day), str(job.last_day)) == ("2026-01-01", "2026-01-31")


def test_what_is_said_on_the_command_line_goes_before_the_file(config: Path) -> None:
    job = backfill_job(config, **DAYS, bundle="new", destination="there")
    assert (job.bundle, job.destination) == ("new", "there")


@pytest.mark.parametrize("day", ["yesterday", "2026-02-30", "2025-12-31"])
def test_a_last_day_that_is_none_or_comes_first_is_refused(config: Path, day: str) -> None:
    with pytest.raises(ConfigError, match=r"backfill\.last_day"):
        backfill_job(config, **{**DAYS, "last_day": day})


@pytest.mark.slow
@pytest.mark.flows
def test_it_is_made_once_and_taken_over_by_the_nightly_run(
    cli: Callable[..., Any], bundle: Path, source: Path, tmp_path: Path
) -> None:
    """The bundle knows no event time; so the days are those of folders."""
    table = tmp_path / "table"
    for day, file in zip(("01", "02"), sorted(source.glob("*.parquet")), strict=True):
        (table / f"day=2026-01-{day}").mkdir(parents=True)
        (table / f"day=2026-01-{day}" / "a.parquet").hardlink_to(file)
    path = tmp_path / "parquet2vec.toml"
    path.write_text(
        f'[embed]\nbundle = "{bundle}"\nsource = "table"\ndestination = "vectors"\n'
        'prepared = "vectors.backfill"\n'
    )
    words = ["flow", "backfill", path, "--from", "2026-01-01", "--to", "2026-01-01", "--json"]
    first, again = cli(*words), cli(*words)
    assert first.code == again.code == 0, first.err + again.err
    assert (first.document["rows"], again.document["published"]) == (600, False)
    nightly = cli("flow", "embed", path, "--json")
    assert (nightly.document["computed"], nightly.document["reused"]) == (1, 1)
