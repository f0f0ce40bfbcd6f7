"""Local disk: files whole or not at all, locks that die with their process, atomic pointers.

Every function leaves either what was there before or what was asked for, at whatever call the
process is killed, an error comes or the power fails; at worst a file ending in ``.tmp`` is left.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import LockedError, PublishError

_SYNCS = 16


def write_file(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Make `path` hold `data` whole, or leave it as it was.

    Not `durable`, it may still be lost or cut short when the power fails, which is enough for
    what is hashed before it is trusted.
    """
    temporary = _temporary(path)
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    temporary.rename(path)
    if durable:
        sync_folder(path.parent)


def read_file(path: Path) -> bytes | None:
    """What `path` holds; None if it is not there.

    Raises:
        OSError: if it cannot be read; it names the file, which not every call does.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to, which becomes `path` when the block ends well.

    Nothing that is there already is replaced, even if it came while the block ran.

    Raises:
        OSError: if it cannot be written, or (`FileExistsError`) something stands at `path`.
    """
    temporary = _temporary(path)
    try:
        yield temporary
        sync_file(temporary)
        # Unlike a rename, a second name for the file is refused where there is one.
        path.hardlink_to(temporary)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Make the folder `path` and those above it where they are not there, durably.

    The name of a folder that was there already is made durable too: whoever made it may have been
    killed before.
    """
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
    # A folder whose parent may not be read was not made here.
    with suppress(PermissionError):
        sync_folder(path.parent)


def sync_files(paths: Iterable[Path]) -> None:
    """Make the bytes of many files durable, side by side: the disk gathers what waits."""
    with ThreadPoolExecutor(max_workers=_SYNCS) as pool:
        for _ in pool.map(sync_file, paths):
            pass


def sync_file(path: Path) -> None:
    """Make the bytes of `path` durable, or delete it.

    After a failed sync the kernel may take pages for written that are not, and a second sync
    succeeds: nobody may find the file and trust it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Make the names in the folder `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """SHA-256 of the bytes of `path`, as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def point(link: Path, target: str) -> None:
    """Make the symbolic link `link` lead to `target`, in one step for every reader."""
    temporary = _temporary(link)
    temporary.symlink_to(target)
    temporary.rename(link)
    sync_folder(link.parent)


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold `path` alone; the kernel lets go when the process dies, however it dies.

    Raises:
        LockedError: if another process holds it.
        PublishError: if it cannot be written, or the file system has no locks.
    """
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise PublishError(f"cannot write {path}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                f"{path.parent} is held by another run; wait for it, or stop it first"
            ) from None
        except OSError as error:
            raise PublishError(f"cannot lock {path}: {error.strerror}") from None
        yield
    finally:
        # Nothing was written to it, so that nothing can be lost.
        with suppress(OSError):
            os.close(file)


def _temporary(path: Path) -> Path:
    # Not by process id: workers on two hosts may have the same one.
    return path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
