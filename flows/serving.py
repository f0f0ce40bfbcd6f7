"""`serve`: a process that starts the runs of a project when they are due, until it is stopped.

Prefect's runner does the work, as flows/serving_runner.py changes it. What it was at when it is
stopped is given back, and what had lost its process goes on.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL
from pydantic import Field

from flows import logs
from flows.automations import HEARTBEAT_SECONDS, watch
from flows.console import two_columns
from flows.deploy import deployments
from flows.project import Project
from flows.server import HANDED_ON, explaining_refusals, require_answer, warn_if_open
from flows.serving_runner import ServingRunner
from flows.zombies import end_orphans, send_back, skip_missed
from pipeline.config import Config
from pipeline.errors import ConfigError

_PROCESS = "process"


class ServingResult(Config):
    """What a `serve` that was stopped had served, or which work pool has it now."""

    deployments: tuple[str, ...]
    given_back: int = Field(description="Runs that were interrupted; they go on under the next.")
    pool: str | None = None


def serve_project(project: Project, path: str | Path) -> ServingResult:
    """Serve the scheduled deployments of `project`, read from `path`, until a signal ends it.

    Raises:
        ConfigError: if there is no server to serve on, or nothing is scheduled.
        ServerError: if the server does not answer.
    """
    _require_server()
    warn_if_open()
    served = deployments(project, path)
    with explaining_refusals(), tempfile.TemporaryDirectory(prefix="parquet2vec-") as empty:
        require_answer()
        # Prefect puts the working folder first in sys.path when it loads a flow by its module's
        # name: in a project's folder it could find somebody else's `flows`.
        os.chdir(empty)
        try:
            given_back = asyncio.run(_serve(served))
        finally:
            os.chdir("/")
    names = tuple(f"{one.flow_name}/{one.name}" for one in served)
    return ServingResult(deployments=names, given_back=given_back)


def text(result: ServingResult) -> str:
    """What `serve` says when it was stopped."""
    if result.pool is not None:
        rows = [(f"in {result.pool}", name) for name in result.deployments]
        return two_columns([*rows, ("next", f"prefect worker start --pool {result.pool}")])
    rows = [("served", name) for name in result.deployments]
    if result.given_back:
        rows.append(("given back", f"{result.given_back} runs, which go on under the next serve"))
    return two_columns([*rows, ("schedules", "not paused: runs that come due wait for a serve")])


def _require_server() -> None:
    if not PREFECT_API_URL.value():
        raise ConfigError(
            "serve needs a Prefect server that lasts, found no PREFECT_API_URL; start one with "
            "`prefect server start` and set PREFECT_API_URL=http://127.0.0.1:4200/api"
        )


def hand_over(project: Project, path: str | Path, *, pool: str) -> ServingResult:
    """Give the scheduled deployments of `project` to the workers of a process work pool.

    Raises:
        ConfigError: if there is no server, nothing is scheduled, or the pool is of another type.
        ServerError: if the server does not answer.
    """
    _require_server()
    warn_if_open()
    served = deployments(project, path)
    with explaining_refusals():
        require_answer()
        asyncio.run(_register(served, pool))
    names = tuple(f"{one.flow_name}/{one.name}" for one in served)
    return ServingResult(deployments=names, given_back=0, pool=pool)


async def _register(served: list[RunnerDeployment], pool: str) -> None:
    async with get_client() as client:
        try:
            found = await client.read_work_pool(pool)
        except ObjectNotFound:
            found = await client.create_work_pool(WorkPoolCreate(name=pool, type=_PROCESS))
        if found.type != _PROCESS:
            raise ConfigError(
                f"work pool {pool} must be of type {_PROCESS}, found {found.type}; name another"
            )
        for deployment in served:
            deployment.job_variables = {"env": environment()}
            await deployment.aapply(work_pool_name=pool)
        await watch(client)


def environment() -> dict[str, str]:
    """What a worker's runs need that `serve` hands to its own."""
    return {name: os.environ[name] for name in HANDED_ON if name in os.environ} | {
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS)
    }


async def _serve(served: list[RunnerDeployment]) -> int:
    """Serve until stopped; the number of runs that were given back."""
    runner = ServingRunner(pause_on_shutdown=False, heartbeat_seconds=HEARTBEAT_SECONDS)
    ids = [await runner.aadd_deployment(deployment) for deployment in served]
    async with get_client() as client:
        await watch(client)
        again = await end_orphans(client, ids)
        missed = await skip_missed(client, ids)
    _tell(served, again, missed)
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, runner.handle_sigterm)
    await runner.start()
    return await _give_back(runner.interrupted)


def _tell(served: list[RunnerDeployment], again: list[FlowRun], missed: list[FlowRun]) -> None:
    for deployment in served:
        schedule = next((item.schedule for item in deployment.schedules or []), None)
        when = f"{getattr(schedule, 'cron', '')} {getattr(schedule, 'timezone', '') or 'UTC'}"
        paused = ", paused" if deployment.paused else ""
        logs.say(f"serving {deployment.flow_name}/{deployment.name} at {when}{paused}")
    for run in again:
        logs.say(f"run '{run.name}' had lost its process and goes on")
    if missed:
        logs.say(f"{len(missed)} runs were missed; the newest of each deployment makes up for them")


async def _give_back(runs: tuple[FlowRun, ...]) -> int:
    """Let runs that were interrupted go on under the next serve; how many."""
    if not runs:
        return 0
    async with get_client() as client:
        now = [await client.read_flow_run(run.id) for run in runs]
        left = [run for run in now if run.state is None or not _ended_by_itself(run)]
        return len(await send_back(client, left, why="serve was stopped"))


def _ended_by_itself(run: FlowRun) -> bool:
    state = run.state
    return state is not None and (state.is_completed() or state.is_failed())
