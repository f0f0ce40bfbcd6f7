"""Runs of the flows in this process, on the task runner that was asked for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from urllib.parse import urlsplit

from prefect.settings import PREFECT_API_URL
from prefect.task_runners import TaskRunner

from flows import logs
from flows.embed import embed
from flows.jobs import DriftJob, PublishSettings, RefreshJob
from flows.monitor import monitor
from flows.redaction import clean_record
from flows.refresh import refresh
from flows.results import MonitorResult, RefreshResult, TrainingResult
from flows.runners import FlowSettings, task_runner
from flows.server import (
    explaining_refusals,
    is_here,
    require_answer,
    temporary_server,
    warn_if_open,
)
from flows.train import train
from pipeline import limits
from pipeline.config import EmbeddingJob
from pipeline.errors import ConfigError, Parquet2VecError
from pipeline.job import JobReport
from training.spec import TrainingJob


def run_train(job: TrainingJob, settings: FlowSettings) -> TrainingResult:
    """The training flow."""
    with _running(settings, workers=1) as runner:
        return train.with_options(task_runner=runner)(job)


def run_embed(
    job: EmbeddingJob, settings: FlowSettings, publish: PublishSettings | None = None
) -> JobReport:
    """The embedding flow, with as many workers as the job has threads."""
    with _running(settings, workers=_workers(job)) as runner:
        return embed.with_options(task_runner=runner)(job, publish)


def run_refresh(job: RefreshJob, settings: FlowSettings) -> RefreshResult:
    """The refresh flow, with as many workers as the embedding has threads."""
    with _running(settings, workers=_workers(job.embed)) as runner:
        return refresh.with_options(task_runner=runner)(job)


def run_monitor(job: DriftJob, settings: FlowSettings) -> MonitorResult:
    """The monitoring flow; what it may set off has as many workers as the embedding."""
    workers = 1 if job.refresh is None else _workers(job.refresh.embed)
    with _running(settings, workers=workers) as runner:
        return monitor.with_options(task_runner=runner)(job)


def _workers(job: EmbeddingJob) -> int:
    return job.threads or limits.threads()


@contextmanager
def _running(settings: FlowSettings, *, workers: int) -> Iterator[TaskRunner[Any]]:
    """The task runner, with one Prefect server for this process and all workers."""
    prepare_logs()
    warn_if_open()
    runner = task_runner(settings.runner, workers=workers, dask_address=settings.dask_address)
    with explaining_refusals(), _server(settings):
        yield runner


def _server(settings: FlowSettings) -> AbstractContextManager[None]:
    """The configured server; without one, every worker process would start its own."""
    if PREFECT_API_URL.value():
        require_answer()
        return nullcontext()
    if settings.runner == "dask" and not _is_here(settings.dask_address):
        raise ConfigError(
            f"workers of {settings.dask_address} need a Prefect server that they can reach, found "
            "none; set PREFECT_API_URL"
        )
    return temporary_server()


def _is_here(address: str | None) -> bool:
    return address is None or is_here(urlsplit(address).hostname)


def prepare_logs() -> None:
    """Let an error that says all it has to say pass through Prefect's logs without a traceback.

    What passes is shown on a terminal and kept in Prefect's database, so that it is cleaned first.
    """
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logger = logging.getLogger(name)
        for rule in (_without_traceback, clean_record):
            if rule not in logger.filters:
                logger.addFilter(rule)
    logs.prepare()


def _without_traceback(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], Parquet2VecError):
        record.exc_info = None
    return True
