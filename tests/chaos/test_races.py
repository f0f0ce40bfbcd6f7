"""Two to five writers at once, and readers all the while: one publishes at a time, nobody mixes."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pyarrow.parquet as pq
import pytest
from harness.process import Ended, Processes
from harness.reference import World
from harness.size import seeded, sizes
from harness.soundness import UnsoundError
from harness.trial import DiskStore, Tally, require_rerun_completes

from pipeline.resolution import resolve

LOCKED = 4


def by_current(destination: Path) -> list[Path] | Path:
    """The plain way: Arrow lists the folder, looks at each name, then opens each."""
    return destination / "current"


def by_real_path(destination: Path) -> list[Path] | Path:
    """The link is followed once."""
    return (destination / "current").resolve(strict=True)


def by_resolve(destination: Path) -> list[str]:
    """The fixed list of files."""
    return list(resolve(destination).files)


class Readers:
    """Threads that read as fast as they can, each in its way, and note what they see.

    A reader of `current` may be refused when the pointer moves under it. It may also see no row at
    all: Arrow leaves out, without a word, names that vanish between its listing and its look.
    """

    def __init__(self, destination: Path, world: World) -> None:
        self.seen: Counter[str] = Counter()
        self.bad: list[str] = []
        self._destination = destination
        self._tables = [version.table for version in world.versions.values()]
        self._stop = threading.Event()
        ways = (by_current, by_real_path, by_resolve)
        self._threads = [threading.Thread(target=self._read, args=(way,)) for way in ways]

    def __enter__(self) -> "Readers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _read(self, way: Callable[[Path], object]) -> None:
        while not self._stop.is_set():
            try:
                found = pq.read_table(
                    way(self._destination), use_threads=False, page_checksum_verification=True
                )
            except FileNotFoundError as error:
                self.note(way, "refused", allowed=way is by_current, told=error)
            except Exception as error:
                self.note(way, "failed", allowed=False, told=f"{type(error).__name__}: {error}")
            else:
                whole = any(found.equals(table) for table in self._tables)
                what = "whole" if whole else "partial" if found.num_rows else "empty"
                allowed = whole or (what == "empty" and way is by_current)
                self.note(way, what, allowed=allowed, told=f"{found.num_rows} rows")

    def note(
        self, way: Callable[[Path], object], what: str, *, allowed: bool, told: object
    ) -> None:
        """Count what a reader saw."""
        self.seen[f"{way.__name__.replace('_', ' ')} {what}"] += 1
        if not allowed:
            self.bad.append(f"a reader {way.__name__} {what}: {told}")


def race(
    processes: Processes, world: World, destination: str, jobs: list[World], chance: Random
) -> list[Ended]:
    """Start every job within the time that one takes, and wait for all."""
    running = []
    for job in jobs:
        running.append(processes.start(*job.argv(destination), "--json"))
        time.sleep(chance.choice([0, 0, chance.uniform(0, 0.03)]))
    return [one.wait() for one in running]


def require_one_at_a_time(ended: list[Ended]) -> int:
    """Every writer published, found its work done, or was told of the lock; how many published."""
    if wrong := [one for one in ended if one.code not in (0, LOCKED)]:
        raise UnsoundError(f"writers must end with 0 or {LOCKED}: {wrong}")
    published = [json.loads(one.out) for one in ended if one.code == 0]
    runs = Counter(report["run_id"] for report in published if report["published"])
    if not published or any(count > 1 for count in runs.values()):
        raise UnsoundError(f"published {dict(runs)}, must be once or never: {ended}")
    return len(runs)


@pytest.mark.parametrize("work", ["same", "different"])
@sizes(3, 50)
def test_races(
    processes: Processes,
    rivals: tuple[World, World],
    place: Callable[[], Path],
    figure: Callable[[object], None],
    work: str,
    size: int,
) -> None:
    store = DiskStore(rivals[0], place)
    tally, chance, ends, reads = Tally(store.world), seeded("races", work), Counter(), Counter()
    for number in range(size):
        to, writers = store.fresh(), chance.randint(2, 5)
        jobs = [rivals[i % 2 if work == "different" else 0] for i in range(writers)]
        with tally.trial(f"race {number} of {writers}"):
            with Readers(Path(to), store.world) as readers:
                ended = race(processes, store.world, to, jobs, chance)
            ends.update(one.code for one in ended)
            reads += readers.seen
            if readers.bad:
                raise UnsoundError("; ".join(readers.bad[:3]))
            ends["published"] += require_one_at_a_time(ended)
            tally.saw(store.require_sound(to))
            require_rerun_completes(processes, store, to)
        store.drop(to)
    read = ", ".join(f"{count:,} {what}" for what, count in sorted(reads.items()))
    figure(
        f"{ends[0] + ends[LOCKED]} writers: {ends['published']} published, {ends[LOCKED]} told of "
        f"the lock; reads: {read}; {tally}"
    )
    tally.require_none_bad()
