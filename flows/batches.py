"""Shards as Prefect tasks: a few hundred batches at most, wherever the task runner runs them.

Workers of another machine import this module: nothing here needs torch or scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from flows.runners import is_lost
from pipeline.errors import ConfigError, PublishError

if TYPE_CHECKING:
    from prefect.futures import PrefectFuture

    from pipeline.publishing import PartReport
    from pipeline.shards import Shard

# One task run costs about ten milliseconds and several rows in Prefect's database, so that a
# hundred thousand shards must not become as many tasks.
MAX_BATCHES = 256
# How often a batch is given to the runner. Dask gives each of them to four workers before it calls
# the batch lost, and blames it for the death of a worker that had only queued it.
ATTEMPTS = 3

RunBatch: TypeAlias = "Callable[[Sequence[Shard]], list[PartReport]]"
BatchFuture: TypeAlias = "PrefectFuture[list[PartReport]]"
_Item = TypeVar("_Item")


def _may_pass(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    """Whether trying again can help: a disk or network that failed, but never a refused input."""
    return isinstance(state.data, OSError) or "OSError" in str(state.message)


@task(
    name="embed shards",
    persist_result=False,
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=[2, 20],
    retry_jitter_factor=0.5,
    retry_condition_fn=_may_pass,
)
def embed_batch(batch: Callable[[], list[PartReport]]) -> list[PartReport]:
    """The reports of the parts that a batch wrote."""
    return batch()


def run_batch(
    function: Callable[[Shard], PartReport], shards: Sequence[Shard], versions: Mapping[str, str]
) -> list[PartReport]:
    """`function` of every shard, one after the other, if this process has the same `versions`."""
    require_versions(versions)
    return [function(shard) for shard in shards]


def map_in_batches(
    function: Callable[[Shard], PartReport], shards: Sequence[Shard]
) -> Iterator[PartReport]:
    """`function` of every shard, in their order, as at most `MAX_BATCHES` task runs.

    A batch whose worker died is given to the runner again.

    Raises:
        ConfigError: if the task runner cannot start.
        PublishError: if the workers of a batch keep dying.
    """
    run = partial(run_batch, function, versions=versions())
    batches = in_batches(shards, at_most=MAX_BATCHES)
    for batch, future in zip(batches, _submit(run, batches), strict=True):
        yield from _result(run, batch, future)


def _submit(run: RunBatch, batches: Iterable[Sequence[Shard]]) -> list[BatchFuture]:
    try:
        # A callable without arguments: through arguments Prefect and Dask would walk, field by
        # field, in search of futures.
        return [embed_batch.submit(partial(run, batch)) for batch in batches]
    except OSError as error:  # the work's own errors come with its result
        raise ConfigError(
            f"the task runner could not start: {error}; check --dask-address, or leave it out to "
            "use this machine"
        ) from None


def _result(run: RunBatch, batch: Sequence[Shard], future: BatchFuture) -> list[PartReport]:
    lost = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            get_run_logger().warning("lost with their workers, trying again: %s", lost)
            [future] = _submit(run, [batch])
        try:
            return future.result()
        except Exception as error:
            if not is_lost(error):
                raise
            lost = str(error)
    raise PublishError(
        f"{len(batch)} shards from {batch[0].file.path} on were lost with every worker that was "
        f"given them; see the workers' logs, and give them more memory or set embed.memory: {lost}"
    )


def versions() -> dict[str, str]:
    """Versions of the packages that decide which bytes a part has."""
    return {name: version(name) for name in ("onnxruntime", "parquet2vec", "pyarrow")}


def require_versions(wanted: Mapping[str, str]) -> None:
    """Compare this process with the one that publishes.

    Raises:
        ConfigError: naming every package whose version differs.
    """
    found = versions()
    differing = [
        f"{name} {wanted[name]}, found {found[name]}"
        for name in wanted
        if found[name] != wanted[name]
    ]
    if differing:
        raise ConfigError(
            f"a worker must have {'; '.join(differing)}; install on the workers what runs the flow"
        )


def in_batches(items: Sequence[_Item], *, at_most: int) -> list[Sequence[_Item]]:
    """`items` cut into runs of nearly equal length, at most `at_most` of them.

    >>> in_batches([1, 2, 3, 4, 5], at_most=3)
    [[1, 2], [3, 4], [5]]
    """
    count = min(len(items), at_most)
    sizes = [len(items) // count + (n < len(items) % count) for n in range(count)]
    ends = list(accumulate(sizes))
    return [items[end - size : end] for size, end in zip(sizes, ends, strict=True)]
