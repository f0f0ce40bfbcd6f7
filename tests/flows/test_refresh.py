"""Refreshes as a scheduler runs them: into a bucket, two at a time, again after a rollback."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from stand import server as stand

from flows import registration
from flows.backfill import backfill_job
from flows.project import refresh_job
from flows.results import RefreshResult
from pipeline import objects
from pipeline.bundle import Bundle
from pipeline.files import holds
from pipeline.locations import S3Location
from pipeline.registries import open_registry
from pipeline.resolution import resolve

pytestmark = [pytest.mark.flows, pytest.mark.slow, pytest.mark.timeout(900)]

Make = Callable[..., Any]


def refreshed(project: Path) -> RefreshResult:
    from flows.runners import FlowSettings
    from flows.runs import run_refresh

    return run_refresh(refresh_job(project), FlowSettings())


@pytest.fixture(scope="module")
def store() -> Iterator[stand.StoreServer]:
    if reason := stand.missing():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="p2v-s3-"))
    running = stand.StoreServer(folder)
    yield running
    running.close()
    shutil.rmtree(folder)


@pytest.fixture
def growing(project: Path, table: Make, folder_of: Make, tmp_path: Path) -> Callable[[], None]:
    """Points the project at a table of its own; every call adds a day to it."""
    days: list[Any] = [table()]
    folder = folder_of(tmp_path / "features", *days)
    source = project.read_text().split('source = "')[1].split('"')[0]
    project.write_text(project.read_text().replace(source, str(folder)))

    def grow() -> None:
        days.append(table(200, seed=len(days), first=10_000 * len(days)))
        folder_of(folder, *days)

    return grow


@pytest.fixture
def in_store(store: stand.StoreServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in store.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.usefixtures("prefect", "in_store")
def test_a_refresh_into_a_bucket_registers_promotes_embeds_and_goes_back(
    project: Path, growing: Callable[[], None]
) -> None:
    models = f"s3://{stand.BUCKET}/models"
    to = f"s3://{stand.BUCKET}/vectors"
    text = project.read_text().replace('"models"', f'"{models}"').replace('"embeddings"', f'"{to}"')
    # A few dozen unseen rows say little: what is tried here is the way there, not the judge.
    project.write_text(f"{text}margin = 0.5\n")
    first = refreshed(project)
    assert first.promotion.reason == "there was no model before"
    assert first.training.bundle == first.promotion.current
    assert first.training.report == f"{first.training.bundle}/report/report.html"
    assert holds(first.training.bundle, "report/report.html")
    assert resolve(to).model == Bundle.open(f"{models}/production").fingerprint
    lineage = open_registry(models).lineage(first.training.bundle.rpartition("/")[2])
    assert lineage is not None
    assert lineage.run is not None
    again = refreshed(project)
    assert "in production already" in again.promotion.reason
    assert (again.training.seconds, again.embedding.published) == (0.0, False)
    growing()
    second = refreshed(project)
    assert second.promotion.promoted, second.promotion
    names = [check.name for check in second.promotion.checks]
    assert names == ["intact", "drift", "score", "latents"]
    assert resolve(to).model == second.training.fingerprint
    registration.roll_back(models, None)
    growing()
    third = refreshed(project)
    assert "--unpin" in third.promotion.reason
    assert third.promotion.current == first.promotion.current
    assert resolve(to).model == first.training.fingerprint


@pytest.mark.usefixtures("prefect", "in_store")
def test_all_that_init_says_of_a_bucket_runs_and_a_backfill_is_taken_over(
    cli_here: Callable[..., Any], table: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.runners import FlowSettings
    from flows.runs import run_embed

    monkeypatch.chdir(tmp_path)
    lake = f"s3://{stand.BUCKET}/init"
    for day, seed in enumerate((1, 2, 3)):
        rows = table(20, seed=seed, first=1_000 * seed)
        moved = pc.add(rows["at"], timedelta(days=day))
        rows = rows.set_column(rows.schema.get_field_index("at"), "at", moved)
        pq.write_table(rows, tmp_path / "day.parquet")
        at = S3Location(stand.BUCKET, f"init/t/{day}.parquet")
        objects.upload(tmp_path / "day.parquet", at, {})
    words = ("init", f"{lake}/t", "--models", f"{lake}/models", "--dest", f"{lake}/vectors")
    assert cli_here(*words, "--out", "p.toml").code == 0
    text = Path("p.toml").read_text()
    small = '[train]\nrecipe = "linear"\ndim = 2\nlabel = ["late"]\n'
    Path("p.toml").write_text(text.replace("[train]\n", small, 1))
    done = refreshed(Path("p.toml"))
    assert (done.promotion.promoted, done.embedding.rows) == (True, 60)

    days = {"first_day": "1970-01-01", "last_day": "1970-01-01"}
    production = f"{lake}/models/production"
    job = backfill_job("p.toml", **days, bundle=production)
    assert job.destination == f"{lake}/vectors.backfill"
    assert run_embed(job, FlowSettings()).computed == 1
    assert not run_embed(job, FlowSettings()).published
    words = ("embed", production, f"{lake}/t", f"{lake}/other", "--prepared", job.destination)
    taken = cli_here(*words, "--json").document
    assert (taken["computed"], taken["reused"]) == (2, 1)

    one = cli_here("init", f"{lake}/t", "--bundle", production, "--out", "q.toml", "--json")
    assert one.document["first_command"] == "parquet2vec flow embed q.toml"


def test_of_two_refreshes_of_the_same_job_one_trains_and_the_other_says_so(
    project: Path, command: str
) -> None:
    words = [command, "flow", "refresh", str(project), "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    runs = [subprocess.Popen(words, env=environment, **pipes) for _ in range(2)]
    ended = [(*run.communicate(timeout=600), run.returncode) for run in runs]
    codes = sorted(code for _, _, code in ended)
    assert codes in ([0, 0], [0, 4]), ended
    for _, err, code in ended:
        if code == 4:
            assert "held by another run" in err or "being trained by another run" in err
        assert "Traceback" not in err
    models = project.parent / "models"
    assert len(open_registry(models).versions()) == 1
    assert Bundle.open(models / "production")
    assert len(open_registry(models).history("production")) == 1
