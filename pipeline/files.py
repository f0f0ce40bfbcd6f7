"""The files of a table, on disk or in an object store: found, looked at, and opened to read."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from pyarrow.fs import LocalFileSystem

from pipeline import objects
from pipeline.errors import DataError, StoreError
from pipeline.locations import S3Location, locate
from pipeline.object_file import BLOCK, ObjectFile

_DISK = LocalFileSystem()
_SHOWN = 3


@dataclass(frozen=True)
class File:
    """A file as it was when it was looked at; `relative` is its path below the table's folder.

    On disk the time of change and the inode tell one state of a file from another, in a store the
    entity tag. What is `stored` there may have a key that nobody could write as a URL.
    """

    path: str
    relative: str
    bytes: int
    mtime_ns: int = 0
    inode: int = 0
    etag: str = ""
    stored: S3Location | None = None

    @property
    def fingerprint(self) -> tuple[str, int, int | str]:
        """What changes when the file changes: relative path, size, time of change or entity tag."""
        return (self.relative, self.bytes, self.etag or self.mtime_ns)

    def require_unchanged(self) -> None:
        """Compare the file with this record.

        Raises:
            DataError: if it was replaced or rewritten since.
            StoreError: if the store does not answer.
        """
        try:
            unchanged = self._is_as_seen()
        except StoreError:
            raise
        except OSError as error:
            reason = error.strerror or str(error)
            raise DataError(f"{self.path} vanished while it was read: {reason}") from None
        if not unchanged:
            raise DataError(
                f"{self.path} changed while it was read; run again when its writer is done"
            )

    def _is_as_seen(self) -> bool:
        if self.stored is not None:
            seen = objects.head(self.stored)
            return (seen.bytes, seen.etag) == (self.bytes, self.etag)
        found = Path(self.path).stat()
        recorded = (self.bytes, self.mtime_ns, self.inode)
        return (found.st_size, found.st_mtime_ns, found.st_ino) == recorded


class Listing(NamedTuple):
    """The Parquet files of a table, sorted by relative path, and what else lies among them.

    Files on disk are not looked at yet: with thousands of them that is done side by side.
    """

    path: str
    found: Sequence[Path | File]
    skipped: Sequence[str]


def find(path: str | Path) -> Listing:
    """The Parquet file or the folder of Parquet files at `path`.

    Names that start with ``_`` or ``.`` are left out, as Hive and Spark do; other files that do
    not end in ``.parquet`` are left out and listed. Linked folders are read.

    Raises:
        DataError: if there is no such path, no Parquet file in it, or it cannot be listed.
        StoreError: if the store does not answer.
    """
    location = locate(path)
    listing = _in_store(location) if isinstance(location, S3Location) else _on_disk(location)
    if not listing.found:
        others = f", found {some(listing.skipped)}" if listing.skipped else ", found nothing"
        raise DataError(f"{listing.path} must hold files that end in .parquet{others}")
    return listing


def holds(path: str | Path, name: str) -> bool:
    """Whether a file `name` lies at `path`: by theirs, bundles and destinations are known.

    Raises:
        DataError: if the store refuses to tell.
        StoreError: if the store does not answer.
    """
    location = locate(path)
    if not isinstance(location, S3Location):
        return (location / name).exists()
    try:
        objects.head(location.join(name))
    except FileNotFoundError:
        return False
    except StoreError:
        raise
    except OSError as error:
        raise DataError(str(error)) from None
    return True


def look(found: Path | File, root: Path) -> File:
    """A file that was found below `root`, as it is now.

    Raises:
        DataError: if it cannot be looked at, or is no file.
    """
    if isinstance(found, File):
        return found
    status = _status(found)
    base = root if root != found else root.parent
    return File(
        path=str(found),
        relative=str(found.relative_to(base)),
        bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        inode=status.st_ino,
    )


def open_file(file: File, *, block: int = BLOCK) -> pa.NativeFile:
    """The bytes of `file`; in a store, of the state that was looked at and of no other.

    There `block` bytes are fetched at a time, or more where more is read at once.
    """
    if file.stored is not None:
        seen = objects.ObjectFacts(file.stored, file.bytes, file.etag)
        return pa.PythonFile(ObjectFile(seen, block=block), mode="r")
    return _DISK.open_input_file(file.path)


def some(names: Sequence[str]) -> str:
    """The first of `names` for a message, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more files" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _in_store(location: S3Location) -> Listing:
    try:
        if single := _single(location):
            return Listing(str(location), [single], [])
        found = [_stored(facts, location) for facts in objects.listed(location)]
    except StoreError:
        raise
    except OSError as error:
        raise DataError(str(error)) from None
    if not found:
        raise DataError(
            f"{location} does not exist; give an object, or a prefix of objects that end in "
            ".parquet, without wildcards"
        )
    seen = sorted((f for f in found if not _is_hidden(f.relative)), key=lambda f: f.relative)
    files = [file for file in seen if file.relative.endswith(".parquet")]
    skipped = [file.relative for file in seen if not file.relative.endswith(".parquet")]
    return Listing(str(location), files, skipped)


def _single(location: S3Location) -> File | None:
    """The object at `location` itself; a marker of a folder is none."""
    try:
        facts = objects.head(location) if location.key else None
    except FileNotFoundError:
        return None
    if facts is None or not (facts.bytes or location.key.endswith(".parquet")):
        return None
    return File(str(location), location.name, facts.bytes, etag=facts.etag, stored=location)


def _stored(facts: objects.ObjectFacts, base: S3Location) -> File:
    relative = facts.location.key.removeprefix(base.key).lstrip("/")
    return File(str(facts.location), relative, facts.bytes, etag=facts.etag, stored=facts.location)


def _is_hidden(relative: str) -> bool:
    return any(part[0] in "_." for part in relative.split("/"))


def _on_disk(root: Path) -> Listing:
    if not root.exists():
        raise DataError(f"{root} does not exist; give a Parquet file or a folder of them")
    found, skipped = _walk(root) if root.is_dir() else ([root], [])
    return Listing(str(root), found, skipped)


def _walk(root: Path) -> tuple[list[Path], list[str]]:
    found: list[Path] = []
    skipped: list[str] = []
    seen: dict[tuple[int, int], str] = {}
    for folder, folders, names in os.walk(root, onerror=_refuse_folder, followlinks=True):
        _require_new(folder, seen)
        folders[:] = sorted(name for name in folders if name[0] not in "_.")
        for name in sorted(names):
            file = Path(folder, name)
            if name[0] in "_.":
                continue
            if name.endswith(".parquet"):
                found.append(file)
            else:
                skipped.append(str(file.relative_to(root)))
    return sorted(found, key=lambda file: str(file.relative_to(root))), skipped


def _refuse_folder(error: OSError) -> None:
    # Left alone, a folder that cannot be listed would be a folder without rows.
    raise DataError(f"{error.filename} cannot be listed: {error.strerror}") from None


def _require_new(folder: str, seen: dict[tuple[int, int], str]) -> None:
    status = Path(folder).stat()
    known = seen.setdefault((status.st_dev, status.st_ino), folder)
    if known != folder:
        raise DataError(
            f"{folder} leads to {known}, whose rows would be read twice; remove the link"
        )


def _status(path: Path) -> os.stat_result:
    """What the disk says of a file, before anything opens it: a pipe would block for ever."""
    try:
        str(path).encode()
        status = path.stat()
    except UnicodeEncodeError:
        raise DataError(f"{path} must have a name in UTF-8; rename it") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path} must be a file, found a folder, pipe or device; remove it")
    return status
