"""Prefect tasks: thin wrappers that take and give paths, settings and scalars."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from flows import promotion, registration, verbs
from flows import publish as publishing
from flows.artifacts import RunProgress
from flows.jobs import ModelRetentionJob, PromotionJob, PublishJob
from flows.results import Promotion, PublishResult, TrainingResult
from pipeline import monitoring
from pipeline.config import MonitorJob
from pipeline.drift_report import DriftReport
from pipeline.registries import ModelCleaning
from training.spec import TrainingJob


@task(name="fit and seal", persist_result=False, cache_policy=NO_CACHE)
def seal(job: TrainingJob) -> str:
    """Fit, export through the gate; the bundle's folder."""
    verbs.seal(job, progress=RunProgress())
    return job.out


@task(name="evaluate", persist_result=False, cache_policy=NO_CACHE)
def conclude(job: TrainingJob, *, started: float) -> TrainingResult:
    """Evaluate a sealed bundle and write its report."""
    return verbs.conclude(job, progress=RunProgress(), started=started)


@task(name="register", persist_result=False, cache_policy=NO_CACHE)
def register(models: str, version: str, job: TrainingJob) -> str:
    """Make the trained bundle a version and the candidate; its path or URL."""
    return registration.register(models, version, job, run=flow_run.get_id())


@task(name="promote", persist_result=False, cache_policy=NO_CACHE)
def promote(job: PromotionJob) -> Promotion:
    """Move `production` to the candidate if it passes the gate."""
    return promotion.promote(job, by_hand=False, progress=RunProgress())


@task(name="delete old models", persist_result=False, cache_policy=NO_CACHE)
def clean(job: ModelRetentionJob) -> ModelCleaning:
    """Delete models beyond the last few."""
    return registration.clean(job)


@task(name="monitor", persist_result=False, cache_policy=NO_CACHE)
def monitor(job: MonitorJob) -> DriftReport:
    """Compare what a run computed with training and the run before."""
    return monitoring.monitor(job, progress=RunProgress())


@task(name="note what followed", persist_result=False, cache_policy=NO_CACHE)
def note(report: DriftReport, followed: str) -> DriftReport:
    """The report with what it set off, kept at the destination."""
    return monitoring.note_what_followed(report, followed)


@task(name="publish to Feast", persist_result=False, cache_policy=NO_CACHE)
def publish(job: PublishJob) -> PublishResult:
    """Make the vectors known to a feature store."""
    return publishing.publish(job)
