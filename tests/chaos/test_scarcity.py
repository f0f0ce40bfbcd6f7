"""A disk that is full or read-only, memory that runs out: told, survived, completed afterwards."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.process import Ended, Processes
from harness.reference import World
from harness.size import sizes, spread
from harness.trial import DiskStore, Tally, require_rerun_completes

NOBODY = 65534
MEGABYTE = 2**20
# A thread that finds no memory to start in makes the C library end the process.
DIED = (127, -signal.SIGABRT, -signal.SIGSEGV)


@pytest.fixture
def small_disk(scratch: Path) -> Iterator[Path]:
    """A file system of its own, of a few megabytes."""
    folder = scratch / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "none", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        folder.rmdir()
        pytest.skip(f"cannot mount a small disk: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()


def require_told(ended: Ended, *words: str) -> None:
    """One message, without a traceback, that holds `words`."""
    told = [line for line in ended.err.splitlines() if line.startswith("parquet2vec: ")]
    one = len(told) == 1 and "Traceback" not in ended.err and "unexpected" not in told[0]
    if ended.code not in (1, 2, 3) or not one or not all(word in told[0] for word in words):
        raise AssertionError(f"must be refused in one message with {words}: {ended}")


def places(folder: Path) -> Callable[[], Path]:
    count = iter(range(1_000_000))
    return lambda: folder / f"to-{next(count)}"


@sizes(4, 40)
def test_a_full_disk(
    processes: Processes,
    world: World,
    small_disk: Path,
    figure: Callable[[object], None],
    size: int,
) -> None:
    store, tally, refused = DiskStore(world, places(small_disk)), Tally(world), 0
    # From nothing left to a little more than the new version takes.
    for free in spread(48 * 1024, size):
        to = store.fresh()
        filler = small_disk / "filler"
        room = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        filler.write_bytes(bytes(max(0, room - free)))
        with tally.trial(f"{free} bytes free"):
            ended = processes.run(*world.argv(to))
            tally.saw(store.require_sound(to))
            if ended.code != 0:
                refused += 1
                require_told(ended, to, "No space left on device")
            filler.unlink()
            require_rerun_completes(processes, store, to)
        filler.unlink(missing_ok=True)
        store.drop(to)
    figure(f"{refused} refused, {tally}")
    assert refused
    tally.require_none_bad()


def test_a_disk_that_turns_read_only(processes: Processes, world: World, small_disk: Path) -> None:
    store = DiskStore(world, places(small_disk))
    to = store.fresh()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    require_told(processes.run(*world.argv(to)), to, "Read-only file system")
    assert store.require_sound(to) is world.old
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    require_rerun_completes(processes, store, to)


@pytest.mark.parametrize("folder", [".", "_stage", "versions"])
def test_a_folder_that_may_not_be_written(
    processes: Processes, world: World, place: Callable[[], Path], folder: str
) -> None:
    store = DiskStore(world, place)
    to = store.fresh()
    root = os.geteuid() == 0
    if root:
        subprocess.run(["chown", "-R", str(NOBODY), to], check=True)
    locked = Path(to, folder)
    locked.chmod(0o555)
    limits = {"user": NOBODY} if root else None
    require_told(processes.run(*world.argv(to), limits=limits), to, "ermission")
    assert store.require_sound(to) is world.old
    locked.chmod(0o755)
    require_rerun_completes(processes, store, to)


def address_space(processes: Processes) -> int:
    """Bytes of the fork server, where every command begins."""
    status = Path(f"/proc/{processes.server.pid}/status").read_text()
    found = re.search(r"VmSize:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


@sizes(4, 60)
def test_too_little_memory(
    processes: Processes,
    world: World,
    place: Callable[[], Path],
    figure: Callable[[object], None],
    size: int,
) -> None:
    store, tally, refused, died = DiskStore(world, place), Tally(world), 0, 0
    base = address_space(processes)
    for more in spread(240, size):
        to = store.fresh()
        with tally.trial(f"{more} MB to grow"):
            ended = processes.run(*world.argv(to), limits={"memory": base + more * MEGABYTE})
            tally.saw(store.require_sound(to))
            if ended.code in DIED:
                died += 1
            elif ended.code != 0:
                refused += 1
                require_told(ended, "emory")
            require_rerun_completes(processes, store, to)
        store.drop(to)
    figure(f"{refused} refused, {died} ended by the C library, {tally}")
    assert refused + died
    tally.require_none_bad()
