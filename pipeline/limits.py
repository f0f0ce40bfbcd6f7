"""How many threads and how much memory this process may use, as its container says."""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_MEMORY = 2 * 10**9
_GROUPS = Path("/sys/fs/cgroup")


def threads() -> int:
    """Worker threads this process may keep busy: its CPU quota and affinity, at least 1."""
    allowed = len(os.sched_getaffinity(0))
    quota = _quota()
    return max(1, min(allowed, int(quota))) if quota else allowed


def _quota() -> float | None:
    unified = _words(_GROUPS / "cpu.max")
    if len(unified) == 2 and unified[0] != "max":
        return int(unified[0]) / int(unified[1])
    quota = _words(_GROUPS / "cpu/cpu.cfs_quota_us")
    period = _words(_GROUPS / "cpu/cpu.cfs_period_us")
    if quota and period and int(quota[0]) > 0:
        return int(quota[0]) / int(period[0])
    return None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
