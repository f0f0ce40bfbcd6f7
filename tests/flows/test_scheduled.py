"""A scheduled run inside Prefect: a try that takes too long ends, and the next one is made."""

import time
from typing import Any

import pytest

from pipeline.config import EmbeddingJob
from pipeline.job import JobReport

pytestmark = [pytest.mark.flows, pytest.mark.usefixtures("prefect")]

REPORT = JobReport(
    run_id="a",
    destination="there",
    parts=1,
    rows=1,
    computed=1,
    computed_rows=1,
    reused=0,
    resumed=0,
    published=True,
    current="a",
    seconds=1.0,
    rows_per_second=1.0,
)


def test_a_try_that_takes_too_long_ends_and_the_next_one_publishes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from flows import embed as embedding
    from flows.schedule import RunPolicy
    from flows.scheduled import scheduled_embed

    tries: list[float] = []

    def hangs_first(*_: Any, **__: Any) -> JobReport:
        tries.append(time.monotonic())
        if len(tries) == 1:
            # Beside pytest's own alarm Prefect can end it between two steps only.
            for _ in range(1_200):
                time.sleep(0.1)
        return REPORT

    monkeypatch.setattr(embedding, "run", hangs_first)
    monkeypatch.setattr(embedding, "show_embedding", lambda _: None)  # nothing was published
    policy = RunPolicy(timeout="2s", retries=1, retry_delay="0.1s", retry_jitter=0)
    job = EmbeddingJob(bundle="model", source="table", destination="there")
    assert scheduled_embed(job, policy) == REPORT
    assert 2 <= tries[1] - tries[0] < 100
