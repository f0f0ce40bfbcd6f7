"""The embedding flow: shards in batches, each a task; then one version is published."""

from __future__ import annotations

from prefect import flow
from prefect.runtime import flow_run

from flows import tasks
from flows.artifacts import RunProgress, show_embedding, show_publication
from flows.batches import map_in_batches
from flows.jobs import PublishJob, PublishSettings
from flows.runners import task_runner
from pipeline import limits
from pipeline.config import EmbeddingJob
from pipeline.job import JobReport
from pipeline.job import embed as run


@flow(
    name="embed",
    persist_result=False,
    result_serializer="json",  # Prefect keeps the error of a failed run, and would pickle it
    task_runner=task_runner("threads", workers=limits.threads()),
)
def embed(job: EmbeddingJob, publish: PublishSettings | None = None) -> JobReport:
    """Publish the vectors of a table; make them known to a feature store, if one is named."""
    result = run(job, progress=RunProgress(), map_shards=map_in_batches, flow_run=flow_run.get_id())
    show_embedding(result)
    if publish is not None:
        known = tasks.publish(PublishJob(**dict(publish), destination=job.destination))
        show_publication(known)
    return result
