"""What a command costs: CPU of its whole tree of processes, wall time, memory of the largest.

Usage: python benchmarks/measure.py COMMAND [ARGUMENT ...]

Prints one JSON document. A process of its own and small, because a child inherits the peak memory
of the one that started it. Processes that outlive the command (Ray leaves some) are adopted, ended
and counted.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from resource import struct_rusage

_ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER
_PATIENCE = 10


def measure(command: list[str]) -> dict[str, object]:
    """CPU and wall seconds, peak resident bytes, exit status, and the last lines it printed."""
    ctypes.CDLL(None).prctl(_ADOPT_ORPHANS, 1, 0, 0, 0)
    os.sync()  # pages that somebody else left to write are not on this bill
    with tempfile.TemporaryFile() as printed:
        started = time.perf_counter()
        child = subprocess.Popen(command, stdout=printed, stderr=printed)
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss
        for orphan in _orphans():
            cpu, peak = cpu + orphan.ru_utime + orphan.ru_stime, max(peak, orphan.ru_maxrss)
        printed.seek(0)
        tail = printed.read()[-2000:].decode(errors="replace")
    return {
        "cpu": cpu,
        "wall": wall,
        "bytes": peak * 1024,
        "exit": child.returncode,
        "printed": tail,
    }


def _orphans() -> list[struct_rusage]:
    found: list[struct_rusage] = []
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            pid, _, used = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid:
            found.append(used)
        elif time.monotonic() < deadline:
            time.sleep(0.05)
        else:
            for left in _children():
                with suppress(ProcessLookupError):
                    os.kill(left, signal.SIGKILL)


def _children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1:])))
