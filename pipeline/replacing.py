"""A folder replaced as a whole: readers, and whoever is killed, find the old one or the new one.

::

    PARENT/NAME               what readers open
    PARENT/.NAME.new.….       the folder to come while it is filled, locked by its writer
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.storage import make_folder, sync_folder

_EXCHANGE = 2
_AT_CWD = -100
# What a kernel or a file system says that cannot do it.
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of `folder` when the block ends well.

    Its files must be durable by then. What killed writers left beside `folder` is deleted.

    Raises:
        OSError: if it cannot be written; `folder` is as it was.
    """
    make_folder(folder.parent)
    stage, held = _claimed(folder)
    try:
        _sweep(folder, but=stage)
        stage.chmod(0o755)
        yield stage
        _replace(folder, stage)
    finally:
        # After an exchange this is what was replaced.
        shutil.rmtree(stage, ignore_errors=True)
        os.close(held)


def _claimed(folder: Path) -> tuple[Path, int]:
    """A new folder beside `folder`, and the lock that says that its writer lives."""
    while True:
        stage = Path(tempfile.mkdtemp(prefix=_prefix(folder), dir=folder.parent))
        with suppress(FileNotFoundError):
            held = os.open(stage, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(held, fcntl.LOCK_EX)
            # Another writer may have swept it away before it was locked.
            if os.fstat(held).st_nlink:
                return stage, held
            os.close(held)


def _sweep(folder: Path, *, but: Path) -> None:
    for leftover in folder.parent.iterdir():
        if leftover != but and leftover.name.startswith(_prefix(folder)):
            with suppress(FileNotFoundError, BlockingIOError):
                held = os.open(leftover, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(leftover, ignore_errors=True)
                finally:
                    os.close(held)


def _prefix(folder: Path) -> str:
    return f".{folder.name}.new."


def _replace(folder: Path, stage: Path) -> None:
    if not folder.exists():
        stage.rename(folder)
    elif not exchange(stage, folder):
        # Readers find nothing for a moment. What stood there is deleted last, so it is never lost.
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
        folder.rename(old)
        stage.rename(folder)
        sync_folder(folder.parent)
        shutil.rmtree(old)
    sync_folder(folder.parent)


def exchange(one: Path, other: Path) -> bool:
    """Let two names swap what they name, in one step; False where that cannot be done.

    Raises:
        OSError: if it can, and failed.
    """
    system = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if hasattr(system, "renameat2"):
        failed = system.renameat2(_AT_CWD, names[0], _AT_CWD, names[1], _EXCHANGE)
    elif hasattr(system, "renamex_np"):
        failed = system.renamex_np(*names, _EXCHANGE)
    else:
        return False
    code = ctypes.get_errno()
    if failed and code not in _CANNOT:
        raise OSError(code, os.strerror(code), str(other))
    return not failed
