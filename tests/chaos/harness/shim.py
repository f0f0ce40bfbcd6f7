"""The shim between a process and its disk: how it is compiled, and what it can be told to do."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")


class Kind(IntFlag):
    """What a call does; the same numbers stand in shim.c."""

    LOOK = 1
    CREATE = 2
    READ = 4
    WRITE = 8
    TRUNCATE = 16
    SYNC = 32
    RENAME = 64
    LINK = 128
    SYMLINK = 256
    UNLINK = 512
    RMDIR = 1024
    MKDIR = 2048
    CLOSE = 4096
    LOCK = 8192
    LIST = 16384


NAMES = Kind.CREATE | Kind.RENAME | Kind.LINK | Kind.SYMLINK | Kind.UNLINK | Kind.RMDIR | Kind.MKDIR
CHANGES = NAMES | Kind.WRITE | Kind.TRUNCATE | Kind.SYNC
EVERY = Kind(2 * Kind.LIST - 1)
GROWING = Kind.CREATE | Kind.WRITE | Kind.TRUNCATE | Kind.LINK | Kind.SYMLINK | Kind.MKDIR


class Mode(IntEnum):
    """What happens at the call that is met; the same numbers stand in shim.c.

    KILL_HALF kills in the middle of a write and before any other call. The two FROM/THEN modes
    also fail every later call of the same kinds.
    """

    WATCH = 0
    KILL_BEFORE = 1
    KILL_AFTER = 2
    KILL_HALF = 3
    FAIL_ONCE = 4
    FAIL_FROM = 5
    SHORT_ONCE = 6
    SHORT_THEN_FAIL = 7


@dataclass(frozen=True)
class Plan:
    """Do `mode` at the `at`-th call, from 1, of the kinds in `mask`."""

    mode: Mode
    mask: Kind
    at: int = 0
    error: int = 0

    def __str__(self) -> str:
        kinds = "call" if self.mask == EVERY else self.mask.name
        kinds = "change" if self.mask == CHANGES else kinds
        error = f" with {errno.errorcode[self.error]}" if self.error else ""
        return f"{self.mode.name} at {kinds} {self.at}{error}"


WATCH = Plan(Mode.WATCH, CHANGES)


def missing() -> str | None:
    """Why the shim cannot be made on this machine, or None."""
    found = sys.platform == "linux" and shutil.which("gcc")
    return None if found else "needs Linux and gcc to make the fault shim"


def compile_shim(folder: Path) -> Path:
    """The shared library, compiled into `folder`."""
    library = folder / "shim.so"
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden"]
    subprocess.run(
        ["gcc", *flags, "-o", str(library), str(SOURCE), "-ldl", "-lpthread"], check=True
    )
    return library
