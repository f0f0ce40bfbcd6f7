"""Runs of the flows in this process, with the task runner that was asked for."""

from __future__ import annotations

import logging

from flows.embed import embed
from flows.jobs import RefreshJob
from flows.refresh import refresh
from flows.results import RefreshResult, TrainingResult
from flows.runners import RunnerName, task_runner
from flows.train import train
from pipeline import limits
from pipeline.config import EmbeddingJob
from pipeline.errors import Parquet2VecError
from pipeline.job import JobReport
from training.spec import TrainingJob


def run_train(job: TrainingJob, *, runner: RunnerName) -> TrainingResult:
    """The training flow on `runner`."""
    _quieten()
    return train.with_options(task_runner=task_runner(runner, workers=1))(job)


def run_embed(job: EmbeddingJob, *, runner: RunnerName) -> JobReport:
    """The embedding flow on `runner`, with as many workers as the job has threads."""
    _quieten()
    return embed.with_options(task_runner=task_runner(runner, workers=_workers(job)))(job)


def run_refresh(job: RefreshJob, *, runner: RunnerName) -> RefreshResult:
    """The refresh flow on `runner`."""
    _quieten()
    workers = _workers(job.embed)
    return refresh.with_options(task_runner=task_runner(runner, workers=workers))(job)


def _workers(job: EmbeddingJob) -> int:
    return job.threads or limits.threads()


def _quieten() -> None:
    """Let an error that says all it has to say pass through Prefect's logs without a traceback."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logger = logging.getLogger(name)
        if _without_traceback not in logger.filters:
            logger.addFilter(_without_traceback)


def _without_traceback(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], Parquet2VecError):
        record.exc_info = None
    return True
