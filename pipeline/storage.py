"""Local disk: files whole or not at all, locks that die with their process, atomic pointers."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import LockedError, PublishError

_SYNCS = 16


def write_file(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Make `path` hold `data` whole, or leave it as it was.

    Not `durable`, it may still be lost or cut short when the power fails, which is enough for
    what is hashed before it is trusted.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    temporary.rename(path)
    if durable:
        sync_folder(path.parent)


def sync_files(paths: Iterable[Path]) -> None:
    """Make the bytes of many files durable, side by side: the disk gathers what waits."""
    with ThreadPoolExecutor(max_workers=_SYNCS) as pool:
        for _ in pool.map(sync_file, paths):
            pass


def sync_file(path: Path) -> None:
    """Make the bytes of `path` durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
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
    temporary = link.with_name(f"{link.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.rename(link)
    sync_folder(link.parent)


def pointed(link: Path) -> str | None:
    """Name of what `link` leads to, or None where there is no link."""
    try:
        return link.readlink().name
    except OSError:
        return None


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold `path` alone; the kernel lets go when the process dies, however it dies.

    Raises:
        LockedError: if another process holds it.
    """
    try:
        file = path.open("a")
    except OSError as error:
        raise PublishError(f"cannot write {path}: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LockedError(
                f"{path.parent} is held by another run; wait for it, or stop it first"
            ) from None
        yield
