"""The refresh flow: train → register → gate → promote → embed → delete old models."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows import promotion, registration, tasks, verbs
from flows.artifacts import show_promotion
from flows.embed import embed
from flows.jobs import ModelRetentionJob, PromotionJob, RefreshJob
from flows.results import RefreshResult, TrainingResult
from flows.runners import current_runner, task_runner
from flows.train import train
from pipeline import limits
from pipeline.bundle import REPORT
from pipeline.errors import BundleError
from pipeline.registries import open_registry


@flow(
    name="refresh",
    persist_result=False,
    result_serializer="json",  # Prefect keeps the error of a failed run, and would pickle it
    task_runner=task_runner("threads", workers=limits.threads()),
)
def refresh(job: RefreshJob) -> RefreshResult:
    """Train a candidate, promote it if it passes the gate, embed with what is in production."""
    version = promotion.candidate_version(job)
    training = _trained(job, version)
    promoted = tasks.promote(_promotion(job, version))
    show_promotion(promoted)
    if promoted.current is None:
        raise BundleError(f"{job.models} has no model to embed with: {promoted.reason}")
    embedding = embed.with_options(task_runner=current_runner())(
        job.embed.model_copy(update={"bundle": promoted.current}), job.publish
    )
    cleaning = tasks.clean(_cleaning(job))
    return RefreshResult(
        training=training, promotion=promoted, embedding=embedding, cleaning=cleaning
    )


def _trained(job: RefreshJob, version: str) -> TrainingResult:
    """The candidate, registered; the same job on the same table trains nothing again."""
    registry = open_registry(job.models, create=True)
    with registry.claimed(version) as folder:
        known = promotion.registered(registry, version)
        if known is None:
            candidate = job.train.model_copy(update={"out": str(folder)})
            known = verbs.finished(candidate) or train(candidate)
            place = tasks.register(job.models, version, candidate)
            report = f"{place}/{REPORT}/{Path(known.report).name}"
            known = known.model_copy(update={"bundle": place, "report": report})
        else:
            registration.nominate(registry, version)
    return known


def _cleaning(job: RefreshJob) -> ModelRetentionJob:
    return ModelRetentionJob(
        models=job.models, keep=job.keep, grace=job.grace, destination=job.embed.destination
    )


def _promotion(job: RefreshJob, version: str) -> PromotionJob:
    return PromotionJob(
        models=job.models,
        version=version,
        source=job.train.source,
        label=job.train.label[0] if job.train.label else None,
        destination=job.embed.destination,
        margin=job.margin,
    )
