"""The refresh flow: train → gate → evaluate → promote → embed."""

from __future__ import annotations

from prefect import flow

from flows import tasks, verbs
from flows.artifacts import show_promotion
from flows.embed import embed
from flows.jobs import RefreshJob
from flows.promotion import candidate_job
from flows.results import RefreshResult
from flows.runners import current_runner, task_runner
from flows.train import train
from pipeline import limits


@flow(
    name="refresh",
    persist_result=False,
    result_serializer="json",  # Prefect keeps the error of a failed run, and would pickle it
    task_runner=task_runner("threads", workers=limits.threads()),
)
def refresh(job: RefreshJob) -> RefreshResult:
    """Train a candidate, make it `current` if it is not worse, embed with `current`."""
    candidate = candidate_job(job)
    # The same job on the same table was trained before: its bundle may be what readers use now.
    training = verbs.finished(candidate) or train(candidate)
    promotion = tasks.promote(job, training.bundle)
    show_promotion(promotion)
    promoted = job.embed.model_copy(update={"bundle": promotion.current})
    embedding = embed.with_options(task_runner=current_runner())(promoted)
    return RefreshResult(training=training, promotion=promotion, embedding=embedding)
