"""Task runners by name: what maps the batches of an embedding."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner

RunnerName = Literal["threads"]


def task_runner(name: RunnerName, *, workers: int) -> TaskRunner[Any]:
    """The task runner called `name`, with at most `workers` batches at a time."""
    return RUNNERS[name](workers)


def current_runner() -> TaskRunner[Any]:
    """A runner like that of the flow that is running, for a flow called inside it."""
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    if context is None:
        raise RuntimeError("current_runner() is for the body of a flow")
    return context.task_runner.duplicate()


def _threads(workers: int) -> TaskRunner[Any]:
    from prefect.task_runners import ThreadPoolTaskRunner

    # Always an explicit size: Prefect's own default has no bound.
    return ThreadPoolTaskRunner(max_workers=workers)


RUNNERS: dict[RunnerName, Callable[[int], TaskRunner[Any]]] = {"threads": _threads}
