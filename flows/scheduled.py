"""The flows as a schedule runs them: in their turn, with retries and a time-out.

Each is served by its module's name. What the command line's flows do is not repeated here: they
run inside, one flow run for every try.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from flows import texts
from flows.embed import embed
from flows.jobs import DriftJob, PublishSettings, RefreshJob
from flows.monitor import monitor
from flows.overlap import Taken, await_turn
from flows.refresh import refresh
from flows.results import RefreshResult
from flows.runners import FlowSettings, task_runner
from flows.runs import prepare_logs
from flows.schedule import RunPolicy
from pipeline import limits
from pipeline.config import EmbeddingJob, parse_seconds
from pipeline.errors import ConfigError, LockedError
from pipeline.job import JobReport

_Result = TypeVar("_Result")


@flow(name="scheduled-embed", persist_result=False, result_serializer="json")
def scheduled_embed(
    job: EmbeddingJob,
    policy: RunPolicy = RunPolicy(),  # noqa: B008 - frozen
    engine: FlowSettings = FlowSettings(),  # noqa: B008 - frozen
    publish: PublishSettings | None = None,
    drift: DriftJob | None = None,
) -> JobReport | State[Any]:
    """Publish the vectors of a table, then look for drift if asked to."""
    options = _options(policy, engine, job)

    def work(attempt: int) -> JobReport:
        report = embed.with_options(flow_run_name=_named(attempt), **options)(job, publish)
        _tell("embedded", texts.embedding(report))
        if drift is not None:
            found = monitor.with_options(flow_run_name=_named(attempt), **options)(drift)
            _tell("looked for drift", texts.monitoring(found))
        return report

    return _in_turn(policy, work)


@flow(name="scheduled-refresh", persist_result=False, result_serializer="json")
def scheduled_refresh(
    job: RefreshJob,
    policy: RunPolicy = RunPolicy(),  # noqa: B008 - frozen
    engine: FlowSettings = FlowSettings(),  # noqa: B008 - frozen
) -> RefreshResult | State[Any]:
    """Train a candidate, promote it when it is not worse, embed with the promoted model."""
    options = _options(policy, engine, job.embed)

    def work(attempt: int) -> RefreshResult:
        result = refresh.with_options(flow_run_name=_named(attempt), **options)(job)
        _tell("refreshed", texts.refresh(result))
        return result

    return _in_turn(policy, work)


def _named(attempt: int) -> str:
    """The name of a try: among all runs of a page one sees whose it is."""
    name = str(flow_run.name).replace("{", "{{").replace("}", "}}")  # Prefect fills braces in
    return f"{name}, try {attempt}"


def _tell(what: str, result: str) -> None:
    """Log what the command would print; the page of a run shows no log of those that it called."""
    get_run_logger().info("%s\n%s", what, result)


def _options(policy: RunPolicy, engine: FlowSettings, job: EmbeddingJob) -> dict[str, Any]:
    """What a try runs with: its task runner, and the time it may take."""
    return {
        "task_runner": task_runner(
            engine.runner,
            workers=job.threads or limits.threads(),
            dask_address=engine.dask_address,
        ),
        "timeout_seconds": None if policy.timeout is None else parse_seconds(policy.timeout),
    }


def _in_turn(policy: RunPolicy, work: Callable[[int], _Result]) -> _Result | State[Any]:
    """What `work` gives once no other run works for this destination; a skipped run's state."""
    prepare_logs()
    try:
        await_turn(policy.overlap)
        return _with_retries(policy, work)
    except (Taken, LockedError) as error:
        return Completed(name="Skipped", message=f"{error}; nothing was done here")


def _with_retries(policy: RunPolicy, work: Callable[[int], _Result]) -> _Result:
    """What `work` gives; another try after a delay when it fails, but not what never can pass."""
    for attempt in range(1, policy.retries + 1):
        try:
            return work(attempt)
        except ConfigError:
            raise
        except Exception as error:
            if isinstance(error, LockedError) and policy.overlap == "skip":
                raise
            seconds = jittered(policy)
            get_run_logger().warning(
                "try %d of %d failed, the next comes in %.0f s: %s",
                *(attempt, policy.retries + 1, seconds, error),
            )
            time.sleep(seconds)
    return work(policy.retries + 1)


def jittered(policy: RunPolicy) -> float:
    """Seconds until the next try: chance keeps runs that failed together from coming together."""
    return parse_seconds(policy.retry_delay) * (1 + random.uniform(0, policy.retry_jitter))
