from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import EmbeddingJob, limits
from pipeline.budget import Budget, plan
from pipeline.bundle import Bundle
from pipeline.errors import ConfigError
from pipeline.source import open_source

Planner = Callable[[str | None, int], Budget]


@pytest.fixture
def budget(bundle: Bundle, source: Path, monkeypatch: pytest.MonkeyPatch) -> Planner:
    monkeypatch.setattr(limits, "resident", lambda: 100 * 10**6)

    def planned(memory: str | None, threads: int) -> Budget:
        job = EmbeddingJob(
            bundle=str(bundle.path), source="s", destination="d", memory=memory, threads=threads
        )
        return plan(job, bundle, open_source(source))

    return planned


def test_enough_memory_means_all_threads_and_large_batches(budget: Planner) -> None:
    assert budget("8GB", 4) == Budget(4, 65_536)


def test_less_memory_means_smaller_batches_then_fewer_workers(budget: Planner) -> None:
    found = [budget(memory, 4) for memory in ("400MB", "280MB", "240MB")]
    assert [b.workers for b in found] == sorted((b.workers for b in found), reverse=True)
    assert found[0].workers > found[-1].workers
    assert all(b.rows_per_batch >= 256 for b in found)


def test_too_little_memory_says_how_much_it_takes(budget: Planner) -> None:
    with pytest.raises(ConfigError, match=r"memory must be 2\d\dMB or more.*found 100MB"):
        budget("100MB", 2)


def test_the_default_is_the_containers(budget: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "memory", lambda: 500 * 10**6)
    small = budget(None, 4)
    monkeypatch.setattr(limits, "memory", lambda: 64 * 10**9)
    assert small != budget(None, 4) == Budget(4, 65_536)
