"""What every task runner promises; then what Dask alone can do: lose a worker and not the run."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pyarrow.parquet as pq
import pytest

import pipeline
from flows.runners import RUNNERS, FlowSettings, RunnerName, task_runner
from pipeline.config import EmbeddingJob
from pipeline.errors import ConfigError, DataError
from pipeline.profile import RUN_PROFILE

Cli = Callable[..., Any]

flows = pytest.mark.flows
every_runner = pytest.mark.parametrize("name", RUNNERS)


def parts(destination: Path) -> dict[str, bytes]:
    """The bytes of all parts, and of what the run counted of its rows."""
    current = destination / "current"
    return {p.name: p.read_bytes() for p in (*current.glob("*.parquet"), current / RUN_PROFILE)}


@contextmanager
def dask_cluster(*, workers: int, allowed_failures: int) -> Iterator[Any]:
    """A Dask cluster of worker processes; a task may lose `allowed_failures` of them."""
    from dask import config
    from distributed import LocalCluster  # brings Dask's defaults, so before they are changed

    runner: Any = task_runner("dask", workers=workers)
    with (
        config.set({"distributed.scheduler.allowed-failures": allowed_failures}),
        LocalCluster(**runner.cluster_kwargs) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with dask_cluster(workers=2, allowed_failures=0) as running:
        yield running


@pytest.fixture
def settings(name: RunnerName, request: pytest.FixtureRequest) -> FlowSettings:
    """Settings of the runner `name`; Dask on one cluster for all tests."""
    if name != "dask":
        return FlowSettings(runner=name)
    address = request.getfixturevalue("cluster").scheduler_address
    return FlowSettings(runner=name, dask_address=address)


def test_every_runner_has_a_row_and_a_name() -> None:
    assert get_args(RunnerName) == tuple(RUNNERS)


@every_runner
def test_every_runner_has_an_explicit_size(name: RunnerName) -> None:
    runner: Any = task_runner(name, workers=3)
    size = runner.cluster_kwargs["n_workers"] if name == "dask" else runner._max_workers
    assert size == 3


def test_without_its_packages_a_runner_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "prefect_dask.task_runners", None)
    with pytest.raises(ConfigError, match=r"pip install 'parquet2vec\[dask\]'"):
        task_runner("dask", workers=1)


def test_workers_of_another_machine_need_a_server_that_they_reach(bundle: Path) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.runs import run_embed

    settings = FlowSettings(runner="dask", dask_address="tcp://scheduler.internal:8786")
    job = EmbeddingJob(bundle=str(bundle), source="nowhere", destination="nowhere")
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(ConfigError, match="set PREFECT_API_URL"),
    ):
        run_embed(job, settings)


@flows
@pytest.mark.usefixtures("prefect")
def test_a_scheduler_that_does_not_answer_is_named(
    bundle: Path, source: Path, tmp_path: Path
) -> None:
    import distributed  # noqa: F401  it brings Dask's defaults, so before they are changed
    from dask import config

    from flows.runs import run_embed

    settings = FlowSettings(runner="dask", dask_address="tcp://127.0.0.1:9")
    job = EmbeddingJob(bundle=str(bundle), source=str(source), destination=str(tmp_path / "out"))
    with (
        config.set({"distributed.comm.timeouts.connect": "300ms"}),
        pytest.raises(ConfigError, match=r"tcp://127\.0\.0\.1:9.*check --dask-address"),
    ):
        run_embed(job, settings)


@flows
@every_runner
@pytest.mark.usefixtures("prefect")
def test_a_runner_publishes_the_bytes_of_the_plain_call_and_then_computes_nothing(
    settings: FlowSettings, bundle: Path, source: Path, tmp_path: Path
) -> None:
    from flows.runs import run_embed

    def job(out: str) -> EmbeddingJob:
        return EmbeddingJob(
            bundle=str(bundle), source=str(source), destination=str(tmp_path / out), threads=2
        )

    told = run_embed(job("flow"), settings)
    again = run_embed(job("flow"), settings)
    pipeline.embed(job("call"))
    assert (told.rows, told.computed, again.computed) == (800, 2, 0)
    assert (told.published, again.published) == (True, False)
    assert parts(tmp_path / "flow") == parts(tmp_path / "call")


@flows
@every_runner
@pytest.mark.usefixtures("prefect")
def test_an_error_of_a_shard_is_the_error_of_the_plain_call(
    settings: FlowSettings, bundle: Path, table: Cli, folder_of: Cli, tmp_path: Path
) -> None:
    from flows.runs import run_embed

    source = folder_of(tmp_path / "in", table(), table(seed=1, first=600))
    spoil(source / "file-1.parquet")
    job = EmbeddingJob(bundle=str(bundle), source=str(source), destination=str(tmp_path / "out"))
    with pytest.raises(DataError) as plain:
        pipeline.embed(job)
    with pytest.raises(DataError) as told:
        run_embed(job, settings)
    assert str(told.value) == str(plain.value)
    assert told.value.exit_code == 3
    assert not (tmp_path / "out" / "current").exists()


def spoil(path: Path) -> None:
    """Overwrite the pages of a file and leave its footer, so that only reading rows finds it."""
    chunk = pq.read_metadata(path).row_group(0).column(2)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xff" * chunk.total_compressed_size)


def kill_one_at_work(cluster: Any, stage: Path, *, finished: int) -> None:
    """SIGKILL a worker process that has a task, as soon as `finished` parts are there."""
    workers = cluster.scheduler.workers
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        if len(list(stage.glob("*/*.parquet.json"))) >= finished:
            busy = [w for w in workers.values() if w.processing]
            if busy:
                os.kill(pid_of(cluster, busy[0].address), signal.SIGKILL)
                return
        time.sleep(0.002)
    raise AssertionError("the moment to kill a worker never came")


def pid_of(cluster: Any, address: str) -> int:
    [pid] = [n.process.pid for n in cluster.workers.values() if n.worker_address == address]
    return int(pid)


@flows
@pytest.mark.integration
@pytest.mark.usefixtures("prefect")
def test_a_run_that_loses_a_worker_publishes_the_bytes_of_one_machine(
    cluster: Any, bundle: Path, large: Path, tmp_path: Path
) -> None:
    """Dask gives up at once (`KilledWorker`): the batch is submitted again."""
    lose_a_worker(cluster, bundle, large, tmp_path)


@flows
@pytest.mark.slow
@pytest.mark.usefixtures("prefect")
def test_what_dask_schedules_again_gives_the_same_bytes(
    bundle: Path, large: Path, tmp_path: Path
) -> None:
    with dask_cluster(workers=3, allowed_failures=3) as cluster:
        lose_a_worker(cluster, bundle, large, tmp_path)


@pytest.fixture
def large(table: Cli, folder_of: Cli, tmp_path: Path) -> Path:
    """Twelve files of a hundred thousand rows."""
    tables = [table(100_000, seed=n % 3, first=100_000 * n) for n in range(12)]
    return folder_of(tmp_path / "in", *tables)  # type: ignore[no-any-return]


def lose_a_worker(cluster: Any, bundle: Path, source: Path, folder: Path) -> None:
    from flows.runs import run_embed

    dask, one = (
        EmbeddingJob(bundle=str(bundle), source=str(source), destination=str(folder / out))
        for out in ("dask", "one")
    )
    settings = FlowSettings(runner="dask", dask_address=cluster.scheduler_address)
    with ThreadPoolExecutor(1) as killer:
        killed = killer.submit(kill_one_at_work, cluster, folder / "dask" / "_stage", finished=2)
        told = run_embed(dask, settings)
        killed.result()
    blamed = sum(prefix.suspicious for prefix in cluster.scheduler.task_prefixes.values())
    assert blamed >= 1
    assert told.computed == 12
    pipeline.embed(one)
    assert parts(folder / "dask") == parts(folder / "one")
    assert leftovers(folder / "dask") == leftovers(folder / "one")


def leftovers(destination: Path) -> list[str]:
    return sorted(p.name for p in destination.rglob("*") if p.suffix not in {".parquet", ""})
