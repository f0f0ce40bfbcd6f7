"""kill -9 at every request to the store: readers see a version, the rerun completes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeAlias

import pytest
from stand.victim import KILLED, Ended, When, run, start
from stand.world import Place, World, add_file, hashes, names, profile

from pipeline import verify
from pipeline.config import EmbeddingJob
from pipeline.destinations import open_destination
from pipeline.errors import DestinationError
from pipeline.locations import S3Location, locate
from pipeline.resolution import resolve

_WAYS: tuple[When, When] = ("before", "after")
# Hashes of the parts, and of the profile.
Seen: TypeAlias = "tuple[tuple[str, ...], str | None]"


@pytest.fixture
def job(world: World, place: Place) -> Callable[[str], EmbeddingJob]:
    """Work that copies two parts of an older version, makes two, and deletes a version."""
    more = add_file(world, S3Location("lake", "world").join("more"), seed=5)
    return lambda to: world.job(to, source=more, keep=1, grace="0s")


@pytest.fixture
def prepared(world: World, place: Place) -> Callable[[], str]:
    """Names destinations that hold a version already."""

    def make() -> str:
        to = place()
        ended = run(world.job(to))
        assert ended.code == 0, ended
        return to

    return make


def seen(to: str) -> Seen | None:
    """What readers are given now; None before the first version."""
    try:
        return hashes(to), profile(to)
    except DestinationError:
        return None


def completed(job: EmbeddingJob, to: str) -> Seen | None:
    """What readers are given after a rerun, with everything where it belongs."""
    ended = run(job)
    assert ended.code == 0, ended
    verify(to)
    left = [name for name in names(to) if name.startswith("_stage")]
    assert not left, left
    assert len(open_destination(to).run_ids()) == 1
    return seen(to)


def points(job: EmbeddingJob, ended: Ended, share: int | None) -> list[int]:
    assert ended.code == 0, ended
    count = ended.requests
    if share is None:
        return list(range(1, count + 1))
    return sorted({1 + round(i * (count - 1) / (share - 1)) for i in range(share)})


@pytest.mark.parametrize(
    "share",
    [6, pytest.param(None, marks=[pytest.mark.chaos, pytest.mark.timeout(3600)])],
    ids=["share", "whole"],
)
@pytest.mark.parametrize("first", [True, False], ids=["first", "next"])
def test_crash_points(
    job: Callable[[str], EmbeddingJob],
    world: World,
    place: Place,
    prepared: Callable[[], str],
    figure: Callable[[object], None],
    share: int | None,
    first: bool,
) -> None:
    fresh = place if first else prepared
    to = fresh()
    before, ended = seen(to), run(job(to))
    after = seen(to)
    assert after is not None and after[1] is not None
    chosen, trials, saw_new = points(job(to), ended, share), 0, 0
    for at in chosen:
        for when in _WAYS if share is None else [_WAYS[at % 2]]:
            to = fresh()
            killed = run(job(to), at=at, when=when)
            if killed.code == 0 and killed.requests < at:
                continue  # a busy machine's first run asked more often, and this one had ended
            assert killed.code == KILLED, (at, when, killed)
            now = seen(to)
            assert now in (before, after), (at, when)
            assert completed(job(to), to) == after, (at, when)
            trials += 1
            saw_new += now == after
    assert trials >= len(chosen) - 1
    figure(
        f"{trials} kills at {len(chosen)} of {ended.requests} requests: readers saw "
        f"{trials - saw_new} the version before, {saw_new} the new one, 0 neither; "
        f"{trials} reruns completed"
    )


@pytest.mark.parametrize(
    "trials",
    [4, pytest.param(100, marks=[pytest.mark.chaos, pytest.mark.timeout(3600)])],
    ids=["share", "whole"],
)
def test_random_kills(
    job: Callable[[str], EmbeddingJob],
    prepared: Callable[[], str],
    figure: Callable[[object], None],
    trials: int,
) -> None:
    to = prepared()
    before = seen(to)
    assert run(job(to)).code == 0
    after, chance, died = seen(to), random.Random(1), 0
    for trial in range(trials):
        to = prepared()
        ended = start(job(to)).wait(kill_after=chance.uniform(0.05, 0.6))
        assert ended.code in (0, KILLED), ended
        died += ended.code == KILLED
        assert seen(to) in (before, after), trial
        assert completed(job(to), to) == after, trial
    figure(f"{died} of {trials} runs were killed; 0 partial, 0 lost, {trials} reruns completed")


def test_what_a_reader_resolved_stays_readable_while_a_run_publishes(
    job: Callable[[str], EmbeddingJob], world: World, prepared: Callable[[], str]
) -> None:
    to = prepared()
    files = resolve(to).files
    running = start(job(to).model_copy(update={"grace": "1h"}))
    assert running.wait().code == 0
    assert resolve(to).files != files
    assert {str(locate(file)) for file in files} <= {f"{to}/{name}" for name in names(to)}
