"""How many threads and how much memory this process may use, as its container says.

Control groups nest: a limit of any group above the process holds, so all of them are read, of
version 2 (one tree) and version 1 (a tree for each resource).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
LARGEST_DEFAULT = 2 * 10**9


def threads() -> int:
    """Worker threads this process may keep busy: its CPU quota and affinity, at least 1."""
    quotas = [float(len(os.sched_getaffinity(0)))]
    for folder in _folders("cpu"):
        older = _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        quota = _words(folder / "cpu.max") or older
        if len(quota) == 2 and quota[0].isdigit():
            quotas.append(int(quota[0]) / int(quota[1]))
    return max(1, int(min(quotas)))


def memory() -> int:
    """Bytes this process may hold: the machine's memory or less, where a group says so."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for folder in _folders("memory"):
        limit = _words(folder / "memory.max") + _words(folder / "memory.limit_in_bytes")
        found += [int(word) for word in limit if word.isdigit()]
    return min(found)


def default_memory() -> int:
    """The bound of a job that names none: half of what there is, and at most 2 GB."""
    return min(LARGEST_DEFAULT, memory() // 2)


def resident() -> int:
    """Bytes of memory this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _folders(resource: str) -> Iterator[Path]:
    """The control groups of this process for `resource`, from its own up to the root."""
    for line in _lines(MEMBERSHIP):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            roots = [GROUPS, GROUPS / "unified"]
        elif resource in controllers.split(","):
            roots = [GROUPS / controllers, GROUPS / resource]
        else:
            continue
        below = Path(path.lstrip("/"))
        for root in roots:
            yield from (root / part for part in (below, *below.parents))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    return [word for line in _lines(path) for word in line.split()]
