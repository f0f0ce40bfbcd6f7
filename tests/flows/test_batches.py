import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from flows import batches
from pipeline.errors import ConfigError, DataError, PublishError


def test_ten_thousand_shards_are_a_few_hundred_task_runs() -> None:
    found = batches.in_batches(range(10_000), at_most=batches.MAX_BATCHES)
    assert len(found) == batches.MAX_BATCHES < 300
    assert [shard for batch in found for shard in batch] == list(range(10_000))


def test_a_flow_over_ten_thousand_shards_submits_fewer_than_300_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submitted: list[Any] = []

    def submit(batch: Any) -> Any:
        submitted.append(batch)
        return SimpleNamespace(result=batch)

    monkeypatch.setattr(batches, "embed_batch", SimpleNamespace(submit=submit))
    shards: Any = range(10_000)
    reports = batches.map_in_batches(lambda shard: shard, shards)  # type: ignore[arg-type,return-value]
    assert list(reports) == list(shards)
    assert len(submitted) == batches.MAX_BATCHES


def test_batches_are_of_nearly_equal_length() -> None:
    lengths = {len(batch) for batch in batches.in_batches(range(1_000), at_most=256)}
    assert lengths == {3, 4}


def test_few_shards_are_a_batch_each() -> None:
    assert batches.in_batches("ab", at_most=256) == ["a", "b"]


def test_no_shards_are_no_batches() -> None:
    assert batches.in_batches([], at_most=256) == []


@pytest.mark.parametrize(("error", "again"), [(OSError("disk"), True), (DataError("x"), False)])
def test_only_a_failing_disk_is_tried_again(error: Exception, again: bool) -> None:
    state: Any = SimpleNamespace(data=error, message=str(error))
    assert batches._may_pass(None, None, state) is again  # type: ignore[arg-type]


def test_prefects_settings_leave_alone_what_the_user_set(monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.server import prepare_prefect

    monkeypatch.setattr(os, "environ", {"PREFECT_CLIENT_MAX_RETRIES": "3"})
    prepare_prefect()
    assert os.environ["PREFECT_CLIENT_MAX_RETRIES"] == "3"
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


class Lost:
    """A future whose task went down with its worker."""

    def result(self) -> Any:
        from distributed import KilledWorker

        raise KilledWorker("embed", SimpleNamespace(address="tcp://worker:1"), 3)


class Done:
    def result(self) -> Any:
        return ["part"]


def embedded(monkeypatch: pytest.MonkeyPatch, *futures: Any) -> list[Any]:
    """What comes of one batch whose attempts end as `futures` say."""
    from prefect.logging import disable_run_logger

    attempts = iter(futures)
    monkeypatch.setattr(batches, "_submit", lambda _run, given: [next(attempts) for _ in given])
    with disable_run_logger():
        shard: Any = SimpleNamespace(file=SimpleNamespace(path="in/file-7.parquet"))
        return list(batches.map_in_batches(lambda shard: shard, [shard]))


def test_a_batch_lost_with_its_workers_is_given_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert embedded(monkeypatch, Lost(), Lost(), Done()) == ["part"]


def test_a_batch_that_kills_every_worker_ends_the_run_and_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(PublishError, match=r"1 shards from in/file-7\.parquet on were lost"):
        embedded(monkeypatch, Lost(), Lost(), Lost())


def test_a_worker_with_other_versions_is_refused() -> None:
    wanted = {**batches.versions(), "pyarrow": "1.0"}
    with pytest.raises(ConfigError, match=r"a worker must have pyarrow 1\.0, found"):
        batches.run_batch(lambda shard: shard, [], wanted)  # type: ignore[arg-type,return-value]


def test_a_flow_that_embeds_loads_nothing_that_training_needs() -> None:
    script = (
        "import sys, flows.runs, flows.scheduled\n"
        "heavy = ('torch', 'sklearn', 'pandas', 'matplotlib', 'training.fit')\n"
        "print([n for n in heavy if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
