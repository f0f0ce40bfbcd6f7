"""`serve`: a process that starts the runs of a project when they are due, until it is stopped.

Prefect's runner does the work. Here it also outlives a server that is away, and gives back what it
was at when it is stopped.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any, Self, TypeAlias
from uuid import UUID

import httpx
from prefect._internal.observers import FlowRunCancellingObserver
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_logger
from prefect.runner import Runner
from prefect.runner import runner as runner_module
from prefect.settings import PREFECT_API_URL
from pydantic import Field

from flows import logs
from flows.console import two_columns
from flows.deploy import deployments
from flows.project import Project
from flows.server import HANDED_ON, explaining_refusals, require_answer, warn_if_open
from flows.zombies import (
    HEARTBEAT_SECONDS,
    MOST_STARTS,
    at_work,
    end_orphans,
    send_back,
    skip_missed,
    watch,
)
from pipeline.config import Config
from pipeline.errors import ConfigError

_Poll: TypeAlias = Callable[..., Coroutine[Any, Any, None]]
_ProposeCrashed: TypeAlias = Callable[..., Coroutine[Any, Any, State[Any] | None]]
_SECONDS_TO_ASK = 20.0
_PAUSE = timedelta(seconds=30)
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
        _say(f"serving {deployment.flow_name}/{deployment.name} at {when}{paused}")
    for run in again:
        _say(f"run '{run.name}' had lost its process and goes on")
    if missed:
        _say(f"{len(missed)} runs were missed; the newest of each deployment makes up for them")


def _say(line: str) -> None:
    logs.say(line)


def _hush(_line: str) -> None:
    """Say nothing."""


class StayingObserver(FlowRunCancellingObserver):
    """Looks for runs that are to be cancelled, also after the server was away."""

    async def _check_for_cancelled_flow_runs(self) -> None:
        await staying(super()._check_for_cancelled_flow_runs)()


class ServingRunner(Runner):
    """Prefect's runner, which stays when the server goes, and ends well when it is told to."""

    interrupted: tuple[FlowRun, ...] = ()

    async def __aenter__(self) -> Self:
        """Prefect's own gives up, and kills its runs, after three polls without an answer.

        It also stops looking for runs that are to be cancelled, for good.
        """
        # It may begin to poll while it is entered, so that only its class can be replaced.
        runner_module.FlowRunCancellingObserver = StayingObserver  # type: ignore[attr-defined]
        await super().__aenter__()
        poller = self._scheduled_run_poller
        poll = staying(poller._get_and_submit_flow_runs, get_logger("runner").warning)
        poller._get_and_submit_flow_runs = poll  # type: ignore[method-assign]
        proposer = self._state_proposer
        crashed = self._starting_again(proposer.propose_crashed)
        proposer.propose_crashed = crashed  # type: ignore[method-assign]
        return self

    def _starting_again(self, give_up: _ProposeCrashed) -> _ProposeCrashed:
        """What is proposed for a run whose process died: another start, at last `give_up`.

        A process that starts while the server is away dies of it.
        """
        starts: Counter[UUID] = Counter()

        async def propose(run: FlowRun, message: str) -> State[Any] | None:
            starts[run.id] += 1
            if self.stopping or starts[run.id] >= MOST_STARTS:
                return await give_up(run, message)
            try:
                current = await self._client.read_flow_run(run.id)
                if current.state is None or not current.state.is_final():
                    await send_back(self._client, [current], why=message, after=_PAUSE)
            except httpx.HTTPError:
                return await give_up(run, message)
            return None

        return propose

    def handle_sigterm(self, *args: Any, **kwargs: Any) -> None:
        """Stop in the runner's own loop, where its connections live; a second signal is enough."""
        if self.stopping:
            os._exit(1)
        if not self.started:
            raise SystemExit  # nothing has begun, and there is no loop yet to stop in
        self.stopping = True
        _say("stopping; a second signal does not wait for the runs")
        self.execute_in_background(self._end)

    async def _end(self) -> None:
        """Note which runs are at work, then end them and the loop."""
        ids = list(self._deployment_registry.get_deployment_ids())
        try:
            async with asyncio.timeout(_SECONDS_TO_ASK), get_client() as client:
                self.interrupted = tuple(await at_work(client, ids))
        except (TimeoutError, httpx.HTTPError, RuntimeError):
            _say("the Prefect server does not answer; the next serve ends what is left")
            # Nothing can be told to a server that is away: the runs are ended, not their records.
            self._loops_task_group.cancel_scope.cancel()
            self._runs_task_group.cancel_scope.cancel()
            return
        await self.astop()


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


def staying(poll: _Poll, say: Callable[[str], None] = _hush) -> _Poll:
    """`poll`, which ends quietly while the server does not answer; `say` is told once."""
    away = False

    async def run(*args: Any, **kwargs: Any) -> None:
        nonlocal away
        try:
            await poll(*args, **kwargs)
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            if isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500:
                raise
            if not away:
                say(f"the Prefect server does not answer ({type(error).__name__}); runs go on")
            away = True
        else:
            if away:
                say("the Prefect server answers again")
            away = False

    return run
