"""One run at a time for each destination, told by the states of runs on Prefect's server.

Prefect's own concurrency limits are leases: a server that restarts forgets them and the run that
held one is ended in the middle of its work (docs/adr/0023). A state cannot be forgotten. Two runs
that look at the same moment may both go on; then the destination's lock lets one of them work.
"""

from __future__ import annotations

import time
from typing import Literal

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.context import FlowRunContext

_PREFIX = "to "
SECONDS_BETWEEN_LOOKS = 10.0


class Taken(Exception):  # noqa: N818 - no error: the other run does the work
    """Another run works for this destination already."""


def turn_tag(destination: str) -> str:
    """The tag of all runs that publish to `destination`."""
    return f"{_PREFIX}{destination}"


def await_turn(overlap: Literal["skip", "wait"]) -> None:
    """Return when no other run of the same tag works.

    Raises:
        Taken: with `skip`, at once if one does; with `wait`, if a newer run waits as well.
    """
    context = FlowRunContext.get()
    own = context.flow_run if context is not None else None
    tags = [tag for tag in (own.tags if own is not None else []) if tag.startswith(_PREFIX)]
    if own is None or not tags:
        return
    while True:
        runs = _running(tags)
        place = next((_place(run) for run in runs if run.id == own.id), _place(own))
        before = min((run for run in runs if _place(run) < place), key=_place, default=None)
        if before is None:
            return
        if overlap == "skip":
            raise Taken(f"run '{before.name}' works for the same destination")
        if any(_place(run) > place for run in runs):
            raise Taken("a newer run waits for the same destination")
        get_run_logger().info("waiting for run '%s' to end", before.name)
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _running(tags: list[str]) -> list[FlowRun]:
    running = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING]))
    wanted = FlowRunFilter(state=running, tags=FlowRunFilterTags(all_=tags))
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=wanted)
    # What a run calls has its tags, and is no run of its own.
    return [run for run in runs if run.parent_task_run_id is None]


def _place(run: FlowRun) -> tuple[float, str]:
    """When a run began; its id decides between two of the same moment."""
    return (run.start_time.timestamp() if run.start_time else float("inf"), str(run.id))
