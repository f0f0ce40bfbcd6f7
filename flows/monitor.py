"""The monitoring flow: has what was embedded last drifted, and what then."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow, get_run_logger

from flows import tasks
from flows.artifacts import show_drift
from flows.jobs import DriftJob
from flows.monitor_refresh import held_back
from flows.refresh import refresh
from flows.results import MonitorResult
from flows.runners import current_runner, task_runner
from pipeline import limits
from pipeline.config import MonitorJob


@flow(
    name="monitor",
    persist_result=False,
    result_serializer="json",  # Prefect keeps the error of a failed run, and would pickle it
    task_runner=task_runner("threads", workers=limits.threads()),
)
def monitor(job: DriftJob) -> MonitorResult:
    """Compare what was computed last with training and the run before; refresh if asked to."""
    found = tasks.monitor(MonitorJob(destination=job.destination, run=job.run))
    if not found.drifted or job.refresh is None:
        show_drift(found)
        return MonitorResult(drift=found)
    reason = held_back(job, found, now=datetime.now(UTC))
    followed = f"refresh not started: {reason}" if reason else "a refresh was started"
    found = tasks.note(found, followed)
    show_drift(found)
    if reason is not None:
        get_run_logger().warning("%s", followed)
        return MonitorResult(drift=found)
    renewed = refresh.with_options(task_runner=current_runner())(job.refresh)
    return MonitorResult(drift=found, refresh=renewed)
