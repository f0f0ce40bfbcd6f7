"""The training flow: fit, gate, evaluate."""

from __future__ import annotations

import time

from prefect import flow

from flows import tasks
from flows.artifacts import show_training
from flows.results import TrainingResult
from flows.runners import task_runner
from training.spec import TrainingJob


@flow(
    name="train",
    persist_result=False,
    result_serializer="json",  # Prefect keeps the error of a failed run, and would pickle it
    task_runner=task_runner("threads", workers=1),
)
def train(job: TrainingJob) -> TrainingResult:
    """Write the bundle that `job` describes, checked and measured."""
    started = time.monotonic()
    # Called, not submitted: training belongs in the main thread, where it can be interrupted.
    tasks.seal(job)
    result = tasks.conclude(job, started=started)
    show_training(result)
    return result
