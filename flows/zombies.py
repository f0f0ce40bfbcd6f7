"""Runs whose process is gone: ended, and started again if that can help.

A process that is killed tells nobody. What it left `Running` on this machine is found by `serve`
when it starts, and the rest by the server (flows/automations.py).
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Collection, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import AwaitingRetry, Cancelled, Crashed
from prefect.types._datetime import DateTime, now

from flows.automations import MOST_STARTS

# The label of a run that tells which machine began it.
HOST = "parquet2vec.host"

_AT_WORK = (StateType.PENDING, StateType.RUNNING, StateType.CANCELLING)
_MISSED = "nothing served it when it was due; a newer run makes up for it"


async def end_orphans(client: PrefectClient, deployments: Collection[UUID]) -> list[FlowRun]:
    """End the runs of `deployments` that began here and whose process is gone; which will go on.

    A run goes on as itself, with its own parameters and the parts that are finished. Processes of
    other machines cannot be seen: their runs are the server's to end.
    """
    alive, here = running_here(), socket.gethostname()
    gone = [
        run
        for run in await at_work(client, deployments)
        if run.id not in alive and run.labels.get(HOST, here) == here
    ]
    return await send_back(client, gone, why="its process is gone")


async def at_work(client: PrefectClient, deployments: Collection[UUID]) -> list[FlowRun]:
    """Runs of `deployments` that have begun and not ended."""
    return await client.read_flow_runs(flow_run_filter=_runs(deployments, _AT_WORK))


async def send_back(
    client: PrefectClient, runs: Iterable[FlowRun], *, why: str, after: timedelta = timedelta()
) -> list[FlowRun]:
    """Let `runs` start again where they can, otherwise end them; the runs that start again."""
    again = []
    for run in runs:
        await _end_children(client, run, why=why)
        cancelled = run.state is not None and run.state.is_cancelling()
        if cancelled:
            await client.set_flow_run_state(run.id, Cancelled(message=why), force=True)
        elif run.run_count >= MOST_STARTS:
            told = f"{why}, after {run.run_count} starts; it is not tried again"
            await client.set_flow_run_state(run.id, Crashed(message=told), force=True)
        else:
            retry: State[Any] = AwaitingRetry(
                message=f"{why}; it goes on", scheduled_time=now("UTC") + after
            )
            await client.set_flow_run_state(run.id, retry, force=True)
            again.append(run)
    return again


async def _end_children(client: PrefectClient, parent: FlowRun, *, why: str) -> None:
    """End the unfinished flow runs that `parent` called, and those that they called."""
    called = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[parent.id]))
    for run in await client.read_flow_runs(flow_run_filter=called):
        await _end_children(client, run, why=why)
        if run.state is None or not run.state.is_final():
            await client.set_flow_run_state(run.id, Crashed(message=why), force=True)


async def skip_missed(client: PrefectClient, deployments: Collection[UUID]) -> list[FlowRun]:
    """Of the runs that should have started by now, keep each deployment's newest; the others.

    A run works on what is there when it starts, so that one makes up for all that were missed.
    """
    due = FlowRunFilterExpectedStartTime(before_=DateTime.now("UTC"))
    scheduled = _runs(deployments, [StateType.SCHEDULED])
    chosen = scheduled.model_copy(update={"expected_start_time": due})
    kept: dict[UUID | None, UUID] = {}
    skipped: dict[UUID, FlowRun] = {}
    # The server answers with some hundred at a time.
    while late := [
        run
        for run in await client.read_flow_runs(
            flow_run_filter=chosen, sort=FlowRunSort.EXPECTED_START_TIME_DESC
        )
        if run.auto_scheduled
        and run.id not in skipped
        and run.id != kept.setdefault(run.deployment_id, run.id)
    ]:
        for run in late:
            await client.set_flow_run_state(
                run.id, Cancelled(name="Missed", message=_MISSED), force=True
            )
            skipped[run.id] = run
    return list(skipped.values())


def _runs(deployments: Collection[UUID], states: Collection[StateType]) -> FlowRunFilter:
    return FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=list(deployments)),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states))),
    )


def running_here(processes: Path = Path("/proc")) -> set[UUID]:
    """Ids of the flow runs that processes of this machine work at, by their environment.

    None are found where there is no /proc, or in processes of other users.
    """
    found = set()
    for file in processes.glob("[0-9]*/environ"):
        with contextlib.suppress(OSError, ValueError):
            for entry in file.read_bytes().split(b"\0"):
                name, _, value = entry.partition(b"=")
                if name == b"PREFECT__FLOW_RUN_ID":
                    found.add(UUID(value.decode("ascii")))
    return found
