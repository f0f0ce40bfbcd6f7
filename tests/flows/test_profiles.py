"""Profiles of runs with a trained model: the reconstruction error is counted in every one."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Bundle, EmbeddingJob, MonitorJob, embed, monitor
from pipeline.destinations import open_destination
from pipeline.profile import RunProfile, read_run
from pipeline.profiling import LEAST_SCORED, SCORED_PER_RUN, scored_of_shard


@pytest.fixture
def job(bundle: Path, source: Path, tmp_path: Path) -> Callable[..., EmbeddingJob]:
    def made(to: str = "to", **options: object) -> EmbeddingJob:
        known = {"bundle": str(bundle), "source": str(source), "destination": str(tmp_path / to)}
        return EmbeddingJob.model_validate(known | options)

    return made


def profile(job: EmbeddingJob) -> RunProfile:
    """What a run of `job` counted."""
    report = embed(job)
    found = open_destination(job.destination).profile(report.run_id)
    assert found is not None
    return read_run(found, path="run")


def scored(found: RunProfile) -> list[int]:
    """How many reconstruction errors were counted of each block."""
    (place,) = (i for i, one in enumerate(found.gauges) if one.kind == "reconstruction error")
    return [sum(block.counts[place]) for block in found.run.blocks]


def test_every_run_counts_reconstruction_errors(job: Callable[..., EmbeddingJob]) -> None:
    found = profile(job())
    assert [block.rows for block in found.run.blocks] == [600, 200]
    assert scored(found) == [SCORED_PER_RUN // 2, 200]


def test_a_run_with_scores_counts_those_it_has(job: Callable[..., EmbeddingJob]) -> None:
    assert scored(profile(job(scores=True))) == [600, 200]


def test_batches_and_threads_do_not_change_the_counted_errors(
    job: Callable[..., EmbeddingJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = profile(job(threads=1))
    monkeypatch.setattr("pipeline.budget.LARGEST_BATCH", 2**14)
    assert profile(job("other", threads=2)) == plain


def test_a_large_scorer_is_not_loaded_for_the_profile(
    job: Callable[..., EmbeddingJob], bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.embedding import _models

    _models.cache_clear()
    size = Bundle.open(bundle).manifest.files["scorer.onnx"].bytes
    monkeypatch.setattr("pipeline.budget.LARGEST_SCORER", size - 1)
    found = profile(job())
    _models.cache_clear()
    assert scored(found) == [0, 0]
    assert not monitor(MonitorJob(destination=job().destination)).drifted


def test_the_error_is_compared_in_runs_without_scores(
    job: Callable[..., EmbeddingJob], table: Callable[..., pa.Table], source: Path, tmp_path: Path
) -> None:
    embed(job())
    calm = monitor(MonitorJob(destination=job().destination))
    assert "reconstruction_error" in {column.name for column in calm.columns}
    rows = table(600, seed=7, first=10_000)
    odd = rows.set_column(2, "delay", pa.array([1e4] * 600))
    (tmp_path / "odd").mkdir()
    pq.write_table(odd, tmp_path / "odd" / "day.parquet")
    embed(job(source=str(tmp_path / "odd")))
    found = monitor(MonitorJob(destination=job().destination))
    moved = {column.name for column in found.columns if column.drifted}
    assert {"delay", "reconstruction_error"} <= moved


@pytest.mark.parametrize(
    ("counted", "shards", "width", "expected"),
    [
        (2_048, 1, 40, SCORED_PER_RUN),
        (2_048, 8, 40, SCORED_PER_RUN // 8),
        (2_048, 1_000, 40, LEAST_SCORED),
        (20, 1, 40, 20),
        (2_048, 1, 2**18, 4),
        (2_048, 1, 2**30, 1),
    ],
)
def test_scored_rows_are_few_whatever_their_width(
    counted: int, shards: int, width: int, expected: int
) -> None:
    assert scored_of_shard(counted, shards=shards, width=width) == expected


def test_without_counted_rows_nothing_is_scored() -> None:
    assert scored_of_shard(0, shards=1, width=3) == 0
