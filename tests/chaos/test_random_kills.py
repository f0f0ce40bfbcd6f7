"""kill -9 at random times, again and again: nothing partial, nothing lost, the same bytes."""

from collections.abc import Callable

import pytest
from harness.process import KILLED, Processes
from harness.size import seeded, sizes
from harness.trial import Store, Tally, require_rerun_completes

# A run that was killed is killed again in half of the cases, while it resumes.
AGAIN = 0.5


@pytest.mark.parametrize(
    ("store", "threads"),
    [("embed", 1), ("embed", 2), ("embed-first", 1), ("embed-first", 2), ("bundle", 1)],
    indirect=["store"],
)
@sizes(10, 200)
def test_random_kills(
    processes: Processes,
    store: Store,
    figure: Callable[[object], None],
    threads: int,
    size: int,
) -> None:
    tally, chance = Tally(store.world), seeded("random kills", threads)
    seconds = min(processes.run(*store.world.argv(store.fresh())).seconds for _ in range(3))
    kills = 0
    while kills < size:
        to, moments = store.fresh(), list[float]()
        with tally.trial(moments):
            while not moments or (chance.random() < AGAIN and kills < size):
                moments.append(chance.uniform(0, 1.1 * seconds))
                argv = store.world.argv(to) + (("--threads", "2") if threads == 2 else ())
                ended = processes.start(*argv).wait(kill_after=moments[-1])
                assert ended.code in (0, KILLED), ended
                tally.saw(store.require_sound(to))
                kills += ended.code == KILLED
            require_rerun_completes(processes, store, to)
        store.drop(to)
    figure(f"{kills} kills, {tally}")
    tally.require_none_bad()
