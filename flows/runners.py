"""Task runners by name: what maps the batches of an embedding.

Another engine is one more row of `RUNNERS`, under a name of `RunnerName`; every row is held to the
same promises by tests/flows/test_runners.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pipeline.config import Config
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner

RunnerName = Literal["threads", "dask"]


class FlowSettings(Config):
    """Where a flow's batches run."""

    runner: RunnerName = Field(
        default="threads",
        description="What maps the batches of shards: threads of this process, or Dask workers.",
    )
    dask_address: str | None = Field(
        default=None,
        description="Scheduler of a running Dask cluster, such as tcp://host:8786; without it "
        "Dask starts worker processes on this machine. Also read from DASK_SCHEDULER_ADDRESS.",
    )


def task_runner(
    name: RunnerName, *, workers: int, dask_address: str | None = None
) -> TaskRunner[Any]:
    """The task runner called `name`, with at most `workers` batches at a time.

    A running Dask cluster, by its address, has as many workers as it has.

    Raises:
        ConfigError: if the runner's packages are not installed.
    """
    return RUNNERS[name](workers, dask_address)


def current_runner() -> TaskRunner[Any]:
    """A runner like that of the flow that is running, for a flow called inside it."""
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    if context is None:
        raise RuntimeError("current_runner() is for the body of a flow")
    return context.task_runner.duplicate()


def is_lost(error: BaseException) -> bool:
    """Whether the engine lost a task together with its worker, as against an error of the task."""
    return type(error).__module__.partition(".")[0] in _ENGINES


# Packages whose own exceptions say that the engine failed, not the work: Dask's KilledWorker and
# cancelled futures.
_ENGINES = ("distributed",)


def _threads(workers: int, _address: str | None) -> TaskRunner[Any]:
    from prefect.task_runners import ThreadPoolTaskRunner

    # Always an explicit size: Prefect's own default has no bound.
    return ThreadPoolTaskRunner(max_workers=workers)


def _dask(workers: int, address: str | None) -> TaskRunner[Any]:
    try:
        from prefect_dask.task_runners import DaskTaskRunner
    except ModuleNotFoundError:
        raise ConfigError(
            "the runner dask needs prefect-dask, not found; pip install 'parquet2vec[dask]'"
        ) from None
    # Dask tells of every connection; Prefect would show it all.
    logging.getLogger("distributed").setLevel(logging.WARNING)
    if address is not None:
        return DaskTaskRunner(address=address)
    return DaskTaskRunner(
        cluster_kwargs={
            "n_workers": workers,
            "threads_per_worker": 1,
            "processes": True,
            # The job's own --memory holds; Dask would kill a worker by a bound of its own.
            "memory_limit": 0,
            "dashboard_address": "127.0.0.1:0",  # any free port: runs may stand side by side
            # Our packages have everyday names: no worker may find a user's `flows` folder instead.
            "env": {"PYTHONSAFEPATH": "1"},
        }
    )


RUNNERS: dict[RunnerName, Callable[[int, str | None], TaskRunner[Any]]] = {
    "threads": _threads,
    "dask": _dask,
}
