"""kill -9 at every call that changes the disk: readers see a version, the rerun completes."""

from collections.abc import Callable, Iterator

from harness.process import KILLED, Processes
from harness.shim import CHANGES, Kind, Mode, Plan
from harness.size import sizes, spread
from harness.trial import Store, Tally, require_rerun_completes

KILLS = (Mode.KILL_BEFORE, Mode.KILL_HALF, Mode.KILL_AFTER)


def calls(processes: Processes, store: Store, mask: Kind) -> int:
    """How many calls of these kinds an undisturbed run makes where it publishes."""
    to = store.fresh()
    watch = Plan(Mode.WATCH, mask)
    ended = processes.run(*store.world.argv(to), roots=store.watched(to), plan=watch)
    assert (ended.code, store.require_sound(to)) == (0, store.world.new), ended
    store.require_nothing_left(to)
    store.drop(to)
    return ended.calls


def plans(processes: Processes, store: Store, count: int, size: int) -> Iterator[Plan]:
    """All changes of the disk in three ways; or all renames, where things are decided, and some."""
    if size >= count:
        yield from (Plan(mode, CHANGES, at) for at in range(1, count + 1) for mode in KILLS)
        return
    for at in range(1, calls(processes, store, Kind.RENAME) + 1):
        yield Plan(Mode.KILL_AFTER, Kind.RENAME, at)
    for at in spread(count, size):
        yield Plan(KILLS[at % 3], CHANGES, at)


@sizes(8, 10**6)
def test_crash_points(
    processes: Processes, store: Store, figure: Callable[[object], None], size: int
) -> None:
    count, tally = calls(processes, store, CHANGES), Tally(store.world)
    for plan in plans(processes, store, count, size):
        to = store.fresh()
        ended = processes.run(*store.world.argv(to), roots=store.watched(to), plan=plan)
        with tally.trial(plan):
            assert ended.code == KILLED, ended
            tally.saw(store.require_sound(to))
            require_rerun_completes(processes, store, to)
        store.drop(to)
    figure(f"{count} changes, {tally}")
    tally.require_none_bad()
