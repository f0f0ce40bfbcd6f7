"""Prefect tasks: thin wrappers that take and give paths, settings and scalars."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from flows import promotion, verbs
from flows.artifacts import RunProgress
from flows.jobs import RefreshJob
from flows.results import Promotion, TrainingResult
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


@task(name="promote", persist_result=False, cache_policy=NO_CACHE)
def promote(job: RefreshJob, candidate: str) -> Promotion:
    """Move `current` to the candidate's folder if it is not worse."""
    return promotion.promote(job, candidate, progress=RunProgress())
