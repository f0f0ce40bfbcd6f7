"""The embedding flow: shards in batches, each a task; then one version is published."""

from __future__ import annotations

from prefect import flow

from flows.artifacts import RunProgress, show_embedding
from flows.batches import map_in_batches
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
def embed(job: EmbeddingJob) -> JobReport:
    """Publish the vectors of a table."""
    result = run(job, progress=RunProgress(), map_shards=map_in_batches)
    show_embedding(result)
    return result
