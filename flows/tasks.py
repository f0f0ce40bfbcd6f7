"""Prefect tasks: thin wrappers that take and give paths, settings and scalars."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from flows import promotion, verbs
from flows.artifacts import RunProgress
from flows.jobs import RefreshJob
from flows.results import Promotion, TrainingResult
from training.spec import TrainingJob

if TYPE_CHECKING:
    from pipeline.publishing import PartReport
    from pipeline.shards import Shard

# One task run costs about ten milliseconds and several rows in Prefect's database, so that a
# hundred thousand shards must not become as many tasks.
MAX_BATCHES = 256

_Item = TypeVar("_Item")


@task(name="fit and seal", persist_result=False, cache_policy=NO_CACHE)
def seal(job: TrainingJob) -> str:
    """Fit, export through the gate; the bundle's folder."""
    verbs.seal(job, progress=RunProgress())
    return job.out


@task(name="evaluate", persist_result=False, cache_policy=NO_CACHE)
def conclude(job: TrainingJob, *, started: float) -> TrainingResult:
    """Evaluate a sealed bundle and write its report."""
    return verbs.conclude(job, progress=RunProgress(), started=started)


@task(name="promote", persist_result=False, cache_policy=NO_CACHE)
def promote(job: RefreshJob, candidate: str) -> Promotion:
    """Move `current` to the candidate's folder if it is not worse."""
    return promotion.promote(job, candidate, progress=RunProgress())


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
def embed_batch(
    function: Callable[[Shard], PartReport], shards: Sequence[Shard]
) -> list[PartReport]:
    """Embed shards one after the other; what comes back names the parts that were written."""
    return [function(shard) for shard in shards]


def map_in_batches(
    function: Callable[[Shard], PartReport], shards: Sequence[Shard]
) -> Iterator[PartReport]:
    """`function` of every shard, in their order, as at most `MAX_BATCHES` task runs."""
    batches = in_batches(shards, at_most=MAX_BATCHES)
    for future in [embed_batch.submit(function, batch) for batch in batches]:
        yield from future.result()


def in_batches(items: Sequence[_Item], *, at_most: int) -> list[Sequence[_Item]]:
    """`items` cut into runs of nearly equal length, at most `at_most` of them.

    >>> in_batches([1, 2, 3, 4, 5], at_most=3)
    [[1, 2], [3, 4], [5]]
    """
    count = min(len(items), at_most)
    sizes = [len(items) // count + (n < len(items) % count) for n in range(count)]
    ends = list(accumulate(sizes))
    return [items[end - size : end] for size, end in zip(sizes, ends, strict=True)]
