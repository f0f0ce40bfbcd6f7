"""What Prefect's server does by itself for runs whose process is gone, wherever that was.

`serve` starts its own dead runs again, as long as it lives. A worker's, and those of a machine that
does not come back, are left to the server: by the same rule, since it knows how often they began.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TypeAlias

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import (
    Automation,
    AutomationCore,
    EventTrigger,
    Posture,
)

from flows.deploy import TAG

_Labels: TypeAlias = dict[str, str | list[str]]

HEARTBEAT_SECONDS = 30
SILENCE = timedelta(minutes=5)
# A run that takes its machine down must not do so for ever.
MOST_STARTS = 3

SILENT = "parquet2vec: a run without a heartbeat has crashed"
AGAIN = "parquet2vec: a run that has crashed starts again"
_MADE_BY = "Made by `parquet2vec serve`, which makes it again when it starts."
_NO_HEARTBEAT = "no heartbeat for"
# What Prefect says when a process did not end by itself.
_NO_PROCESS = "Process exited with"

_HEARTBEAT = "prefect.flow-run.heartbeat"
_CRASHED = "prefect.flow-run.Crashed"
_NO_LONGER_AT_WORK = tuple(
    f"prefect.flow-run.{state}"
    for state in ("Completed", "Skipped", "Failed", "Cancelled", "Crashed", "AwaitingRetry")
)
_RUN: _Labels = {"prefect.resource.id": "prefect.flow-run.*"}
_OURS: _Labels = {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"}


async def watch(client: PrefectClient) -> None:
    """Have the server look after our runs, by two automations, kept up to date."""
    for automation in (_silent(), _again()):
        known = await client.read_automations_by_name(automation.name)
        for spare in known[1:]:
            await client.delete_automation(spare.id)
        if not known:
            await client.create_automation(automation)
        elif not _same(known[0], automation):
            await client.update_automation(known[0].id, automation)


def _same(known: Automation, wanted: AutomationCore) -> bool:
    """Whether there is nothing to update, which would make the server forget what it waits for."""
    return known.model_dump(include=set(AutomationCore.model_fields)) == wanted.model_dump()


def _silent() -> AutomationCore:
    """End runs, and runs that they called, which are silent too long."""
    return AutomationCore(
        name=SILENT,
        description=_MADE_BY,
        trigger=EventTrigger(
            posture=Posture.Proactive,
            after={_HEARTBEAT},
            expect={_HEARTBEAT, *_NO_LONGER_AT_WORK},
            match=_RUN,
            match_related=_OURS,
            for_each={"prefect.resource.id"},
            threshold=1,
            within=SILENCE,
        ),
        actions=[
            ChangeFlowRunState(
                name="Crashed",
                force=False,
                state=StateType.CRASHED,
                message=f"{_NO_HEARTBEAT} {SILENCE}: its process is gone, or it lost the server",
            )
        ],
    )


def _again() -> AutomationCore:
    """Start runs again that have lost their process, unless they did so too often.

    The server refuses it for runs that another run called, and for runs that were cancelled.
    """
    return AutomationCore(
        name=AGAIN,
        description=_MADE_BY,
        trigger=EventTrigger(
            posture=Posture.Reactive,
            expect={_CRASHED},
            match={
                **_RUN,
                "prefect.run-count": [str(starts) for starts in range(1, MOST_STARTS)],
                "prefect.state-message": [f"{_NO_HEARTBEAT}*", f"{_NO_PROCESS}*"],
            },
            match_related=[_OURS, {"prefect.resource.role": "deployment"}],
            for_each={"prefect.resource.id"},
            threshold=1,
            within=timedelta(),
        ),
        actions=[
            ChangeFlowRunState(
                name="AwaitingRetry",
                force=False,
                state=StateType.SCHEDULED,
                message="its process is gone; it goes on",
            )
        ],
    )
