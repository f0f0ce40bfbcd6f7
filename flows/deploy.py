"""The deployments of a project: what Prefect's page shows, starts and lets one edit."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect._vendor.croniter.croniter import croniter
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import Flow
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType

from flows.jobs import RefreshJob
from flows.overlap import turn_tag
from flows.project import Project, drift_of, refresh_of, required
from flows.schedule import FlowSchedule, RunPolicy, Schedule
from flows.scheduled import scheduled_embed, scheduled_refresh
from pipeline.config import EmbeddingJob
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from prefect.schedules import Schedule as PrefectSchedule

TAG = "parquet2vec"


def deployments(project: Project, path: str | Path) -> list[RunnerDeployment]:
    """A deployment for each flow that the [schedule] of the project file at `path` names.

    Raises:
        ConfigError: if nothing is scheduled, a table of a scheduled flow is missing, or a cron line
            names no time.
    """
    schedule = required(project.schedule, "schedule", path)
    found = []
    if schedule.embed is not None:
        job = required(project.embed, "embed", path)
        found.append(_deployment(scheduled_embed, job, schedule.embed, project, path))
    if schedule.refresh is not None:
        refresh = refresh_of(project, path)
        found.append(_deployment(scheduled_refresh, refresh, schedule.refresh, project, path))
    if not found:
        raise ConfigError(
            f"{path} must have [schedule.embed] or [schedule.refresh], found neither; add one with "
            "its cron line"
        )
    return found


def _deployment(
    flow: Flow[..., Any],
    job: EmbeddingJob | RefreshJob,
    when: FlowSchedule,
    project: Project,
    path: str | Path,
) -> RunnerDeployment:
    schedule = required(project.schedule, "schedule", path)
    destination = job.embed.destination if isinstance(job, RefreshJob) else job.destination
    policy = RunPolicy(**when.model_dump(include=set(RunPolicy.model_fields)))
    deployment = flow.to_deployment(
        name=deployment_name(schedule, path),
        description=f"{flow.description}\n\nServed from `{Path(path).absolute()}`.",
        schedule=_cron(when, schedule.timezone, flow.name),
        paused=when.paused,
        parameters={
            "job": job.model_dump(mode="json"),
            "policy": policy.model_dump(mode="json"),
            "engine": project.flow.model_dump(mode="json"),
            **({} if isinstance(job, RefreshJob) else _after(project, path)),
        },
        tags=[TAG, turn_tag(destination)],
        version=version("parquet2vec"),
        # A path would count from the folder that a runner happens to stand in.
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    assert isinstance(deployment, RunnerDeployment)
    # Said, so that a deployment which was a work pool's leaves it.
    deployment.work_pool_name = None
    return deployment


def _after(project: Project, path: str | Path) -> dict[str, Any]:
    """What follows an embedding: making it known to a feature store, looking for drift."""
    drift = None if project.monitor is None else drift_of(project, project.monitor, path)
    return {
        "publish": None if project.publish is None else project.publish.model_dump(mode="json"),
        "drift": None if drift is None else drift.model_dump(mode="json"),
    }


def deployment_name(schedule: Schedule, path: str | Path) -> str:
    """The name of the project's deployments: said, or that of the project file's folder."""
    if schedule.name is not None:
        return schedule.name
    folder = Path(path).absolute().parent.name
    return "".join(c if c not in "/%&<>" else "-" for c in folder) or "parquet2vec"


def _cron(when: FlowSchedule, timezone: str, flow: str) -> PrefectSchedule:
    try:
        CronSchedule(cron=when.cron, timezone=timezone)
        # Nobody else says that 30 February never comes.
        croniter(when.cron).get_next()  # type: ignore[no-untyped-call]
    except ValueError:
        raise ConfigError(
            f"the cron line of {flow} must name times, found {when.cron!r}; its fields are minute, "
            "hour, day, month, weekday"
        ) from None
    return Cron(when.cron, timezone=timezone)
