"""kill -9 at every call that changes the disk: readers see a version, the rerun completes."""

from collections.abc import Callable

from harness.process import KILLED, Processes
from harness.shim import WATCH, Mode, Plan
from harness.size import sizes, spread
from harness.trial import Store, Tally, require_rerun_completes

KILLS = (Mode.KILL_BEFORE, Mode.KILL_HALF, Mode.KILL_AFTER)


def changes(processes: Processes, store: Store) -> int:
    """How often an undisturbed run changes the disk."""
    to = store.fresh()
    ended = processes.run(*store.world.argv(to), roots=store.watched(to), plan=WATCH)
    assert (ended.code, store.require_sound(to)) == (0, store.world.new), ended
    store.require_nothing_left(to)
    return ended.calls


@sizes(20, 10**6)
def test_crash_points(
    processes: Processes, store: Store, figure: Callable[[object], None], size: int
) -> None:
    count, tally = changes(processes, store), Tally(store.world)
    points = spread(count, size)
    for at in points:
        # A share takes one of the three ways at each point, in turn.
        for mode in KILLS if size >= count else [KILLS[at % 3]]:
            plan, to = Plan(mode, WATCH.mask, at), store.fresh()
            ended = processes.run(*store.world.argv(to), roots=store.watched(to), plan=plan)
            with tally.trial(plan):
                assert ended.code == KILLED, ended
                tally.saw(store.require_sound(to))
                require_rerun_completes(processes, store, to)
            store.drop(to)
    figure(f"{len(points)}/{count} points, {tally}")
    tally.require_none_bad()
