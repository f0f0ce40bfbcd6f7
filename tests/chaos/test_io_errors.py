"""Every call that reads or changes the disk fails: nothing published is hurt, and we are told."""

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.process import Ended, Processes
from harness.shim import EVERY, GROWING, NAMES, Kind, Mode, Plan
from harness.size import seeded, sizes
from harness.trial import Store, Tally, require_rerun_completes

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
# From one moment on, as a disk that is full, gone or read-only behaves.
LASTING = (
    (GROWING | Kind.SYNC, errno.ENOSPC),
    (EVERY & ~(Kind.CLOSE | Kind.LOCK), errno.EIO),
    (NAMES, errno.EACCES),
)


def calls(processes: Processes, store: Store, mask: Kind) -> int:
    """How many calls of these kinds an undisturbed run makes, on all that it reads and writes."""
    to = store.fresh()
    argv, roots = store.world.argv(to), watched(store, to)
    ended = processes.run(*argv, roots=roots, plan=Plan(Mode.WATCH, mask))
    assert ended.code == 0, ended
    store.drop(to)
    return ended.calls


def watched(store: Store, to: str) -> list[Path]:
    return [*store.watched(to), *store.world.inputs]


def plans(processes: Processes, store: Store) -> Iterator[Plan]:
    """One error at each call site, then errors that last, then short writes."""
    for kind in Kind:
        for at in range(1, calls(processes, store, kind) + 1):
            yield from (Plan(Mode.FAIL_ONCE, kind, at, error) for error in ERRORS)
    for mask, error in LASTING:
        for at in range(1, calls(processes, store, mask) + 1):
            yield Plan(Mode.FAIL_FROM, mask, at, error)
    for at in range(1, calls(processes, store, Kind.WRITE) + 1):
        yield Plan(Mode.SHORT_ONCE, Kind.WRITE, at)
        yield Plan(Mode.SHORT_THEN_FAIL, Kind.WRITE, at, errno.ENOSPC)


def require_told(ended: Ended, paths: list[Path]) -> None:
    """A failure says what failed, where, in one message."""
    told = [line for line in ended.err.splitlines() if line.startswith("parquet2vec: ")]
    one = len(told) == 1 and "Traceback" not in ended.err and "unexpected" not in told[0]
    if ended.code not in (1, 3) or not one or not any(str(path) in told[0] for path in paths):
        raise AssertionError(f"must end with 1 or 3 and one message that names a path: {ended}")


@sizes(25, 10**6)
def test_io_errors(
    processes: Processes, store: Store, figure: Callable[[object], None], size: int
) -> None:
    tally, every = Tally(store.world), list(plans(processes, store))
    chosen = seeded("errors").sample(every, min(size, len(every)))
    failed = 0
    for plan in chosen:
        to = store.fresh()
        roots = watched(store, to)
        ended = processes.run(*store.world.argv(to), roots=roots, plan=plan)
        with tally.trial(plan):
            tally.saw(seen := store.require_sound(to))
            if ended.code == 0:
                assert seen is store.world.new, ended
            else:
                failed += 1
                require_told(ended, roots)
            require_rerun_completes(processes, store, to)
        store.drop(to)
    figure(f"{len(chosen)}/{len(every)} sites and errors, {failed} runs failed, {tally}")
    tally.require_none_bad()
