"""Profiles: what is counted, that the same rows give the same bytes, and what damage does."""

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Bundle, EmbeddingJob, JobReport, embed, verify
from pipeline.destinations import open_destination
from pipeline.errors import BundleError, DestinationError
from pipeline.gauging import CELLS, count, edges_of
from pipeline.profile import (
    MOST_BLOCKS,
    RUN_PROFILE,
    TRAINING_PROFILE,
    Gauge,
    RunProfile,
    read_run,
    read_training,
)
from pipeline.profiling import (
    MOST_ROWS,
    places_of,
    shares_of_run,
)
from pipeline.publishing import PartReport
from pipeline.shards import Shard
from pipeline.version_making import ShardFunction


@pytest.fixture
def model(
    bundle: Bundle,
    tmp_path: Path,
    make_table: Callable[..., pa.Table],
    profiled: Callable[..., Bundle],
) -> Bundle:
    return profiled(bundle, tmp_path / "model", [make_table(500, seed=i) for i in range(6)])


@pytest.fixture
def job(model: Bundle, source: Path, tmp_path: Path) -> Callable[..., EmbeddingJob]:
    def made(to: str = "to", **options: object) -> EmbeddingJob:
        known = {"bundle": str(model.path), "source": str(source), "destination": tmp_path / to}
        return EmbeddingJob.model_validate({k: str(v) for k, v in known.items()} | options)

    return made


def profile(job: EmbeddingJob, report: JobReport) -> bytes:
    found = open_destination(job.destination).profile(report.run_id)
    assert found is not None
    return found


def read(job: EmbeddingJob, report: JobReport) -> RunProfile:
    return read_run(profile(job, report), path="run")


def test_a_run_counts_its_rows_by_file(job: Callable[..., EmbeddingJob]) -> None:
    found = read(job(), embed(job()))
    assert [block.source for block in found.run.blocks] == [f"day-{i}.parquet" for i in range(3)]
    assert [block.rows for block in found.run.blocks] == [1_000] * 3
    assert found.run.rows == 3_000
    for block in found.run.blocks:
        assert {sum(counts) for counts in block.counts} == {1_000}


def test_keys_and_the_event_time_are_not_counted_and_all_features_are(
    job: Callable[..., EmbeddingJob], bundle: Bundle
) -> None:
    found = read(job(), embed(job()))
    columns = {gauge.column for gauge in found.gauges if gauge.kind != "latent"}
    assert columns == {column.name for column in bundle.manifest.feature_schema.features}
    assert not columns & {"id", "at", "late"}
    assert sum(gauge.kind == "latent" for gauge in found.gauges) == bundle.manifest.dim


def test_nulls_and_values_are_counted_as_they_are_in_the_table(
    job: Callable[..., EmbeddingJob], source: Path
) -> None:
    found, rows = read(job(), embed(job())), pq.read_table(source)
    gauges = {gauge.name: place for place, gauge in enumerate(found.gauges)}
    for name in ("amount", "count", "flag", "seen"):
        nulls = sum(block.counts[gauges[name]][0] for block in found.run.blocks)
        assert nulls == rows[name].null_count, name
    flag = found.gauges[gauges["flag"]]
    counts = np.sum([block.counts[gauges["flag"]] for block in found.run.blocks], axis=0)
    trues = int(np.sum(rows["flag"].to_pylist() == np.array(True)))
    assert counts[count(flag, np.array([1.0])).index(1)] == trues


def test_only_what_a_run_computed_is_counted(
    job: Callable[..., EmbeddingJob], source: Path, make_table: Callable[..., pa.Table]
) -> None:
    embed(job())
    pq.write_table(make_table(100, seed=9), source / "day-3.parquet")
    report = embed(job())
    found = read(job(), report)
    assert [block.source for block in found.run.blocks] == ["day-3.parquet"]
    assert found.run.rows == 100
    manifest = json.loads((Path(job().destination) / "current/_manifest.json").read_bytes())
    assert all("profile" not in part for part in manifest["files"])


def test_a_run_that_computes_nothing_has_no_profile(
    job: Callable[..., EmbeddingJob], source: Path
) -> None:
    embed(job())
    (source / "day-2.parquet").unlink()
    report = embed(job())
    assert open_destination(job().destination).profile(report.run_id) is None
    assert verify(job().destination).versions == 2


def test_batches_threads_and_workers_do_not_change_a_byte(
    job: Callable[..., EmbeddingJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.profiling.MOST_ROWS", 300)
    plain = profile(job(), embed(job()))
    monkeypatch.setattr("pipeline.budget.LARGEST_BATCH", 2**16)
    other = job("other", threads=2)
    assert profile(other, embed(other)) == plain
    assert {block.rows for block in read_run(plain, path="").run.blocks} == {300}


def test_a_run_that_was_killed_goes_on_to_the_same_profile(
    job: Callable[..., EmbeddingJob],
) -> None:
    def dying(function: ShardFunction, shards: Sequence[Shard]) -> Iterable[PartReport]:
        yield function(shards[0])
        raise KeyboardInterrupt

    plain = profile(job(), embed(job()))
    with pytest.raises(KeyboardInterrupt):
        embed(job("killed"), map_shards=dying)
    report = embed(job("killed"))
    assert report.resumed == 1
    assert profile(job("killed"), report) == plain


def test_a_damaged_profile_is_told_by_verify(job: Callable[..., EmbeddingJob]) -> None:
    embed(job())
    path = Path(job().destination) / "current" / RUN_PROFILE
    verify(job().destination)
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    with pytest.raises(DestinationError, match=RUN_PROFILE):
        verify(job().destination)
    path.unlink()
    with pytest.raises(DestinationError, match=RUN_PROFILE):
        verify(job().destination)


def test_a_bundle_without_a_profile_embeds_as_before(
    bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    known = {"bundle": str(bundle.path), "source": str(source), "destination": str(tmp_path / "o")}
    report = embed(EmbeddingJob.model_validate(known))
    assert report.published
    assert open_destination(tmp_path / "o").profile(report.run_id) is None


def test_a_profile_of_other_cells_is_refused(model: Bundle) -> None:
    content = json.loads(model.read(TRAINING_PROFILE))
    content["training"]["blocks"][0]["counts"][0].append(1)
    with pytest.raises(BundleError, match="profile of format 1"):
        read_training(json.dumps(content).encode(), path="model/profile.json")


@pytest.mark.parametrize("files", [1, 3, 31, 32, 33, 1_000])
def test_of_many_files_some_that_lie_evenly_are_counted(files: int) -> None:
    shares = shares_of_run([3_000] * files, width=20)
    places = sorted(shares)
    assert len(places) == min(files, MOST_BLOCKS)
    assert places[0] == 0
    assert np.diff([*places, files]).max(initial=0) <= -(-files // len(places))
    assert max(shares.values()) <= MOST_ROWS


def test_wide_rows_are_counted_by_fewer() -> None:
    assert shares_of_run([10**6], width=10_000)[0] * 10_000 < 3 * 2**20


@pytest.mark.parametrize(("rows", "counted"), [(10, 10), (1_000, 77), (10**6, 4_096), (5, 1)])
def test_counted_rows_are_one_of_each_stretch(rows: int, counted: int) -> None:
    places = places_of(rows, counted)
    stretch = np.arange(counted + 1) * rows // counted
    assert ((stretch[:-1] <= places) & (places < stretch[1:])).all()


def test_hours_of_a_table_in_order_are_met_evenly() -> None:
    hours = places_of(24 * 10_000, 10_000) % 24
    assert np.bincount(hours, minlength=24).min() > 300


def test_cells_hold_equally_many_rows_and_frequent_values_have_their_own() -> None:
    random = np.random.default_rng(0)
    values = np.concatenate([np.zeros(4_000), random.normal(size=6_000)])
    gauge = Gauge(name="x", column="x", kind="number", edges=edges_of(values))
    counts = count(gauge, values)
    assert sum(counts) == 10_000
    assert max(counts) == 4_000
    assert sorted(counts)[-2] <= 2 * 10_000 / CELLS


def test_what_is_outside_of_training_has_cells_of_its_own() -> None:
    gauge = Gauge(name="x", column="x", kind="number", edges=edges_of(np.arange(100.0)))
    counts = count(gauge, np.array([-1.0, -np.inf, 0.0, 99.0, 100.0, np.inf, np.nan]))
    assert (counts[0], counts[1], counts[-1]) == (1, 2, 2)
    assert sum(counts) == 7


def test_a_run_profile_needs_no_bundle_to_be_read(
    job: Callable[..., EmbeddingJob], model: Bundle
) -> None:
    content = profile(job(), embed(job()))
    training = read_training(model.read(TRAINING_PROFILE), path="")
    shutil.rmtree(model.path)
    found = read_run(content, path="")
    assert (found.gauges, found.training) == (training.gauges, training.training)
