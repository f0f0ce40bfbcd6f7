"""The mark of a folder or a prefix that is ours: a small file that says which format it has.

It is made only where there is nothing else, so that nobody publishes into a folder of their own by
mistake; whoever comes to a newer format leaves it alone.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from pipeline import objects, storage
from pipeline.errors import BundleError, DestinationError
from pipeline.locations import S3Location

# What a fresh file system holds.
_HARMLESS = "lost+found"


def mark_of(number: int) -> bytes:
    """What stands in the mark of a format."""
    return json.dumps({"format": number}).encode()


def require_format(
    mark: bytes,
    number: int,
    *,
    path: str,
    name: str,
    refuse: type[BundleError | DestinationError],
    then: str = "",
) -> None:
    """Refuse what has a newer format than `number` by the mark `name` at `path`.

    Raises:
        BundleError, DestinationError: as `refuse` says; also if the mark is damaged.
    """
    try:
        found = json.loads(mark)["format"]
    except (ValueError, KeyError, TypeError):
        found = None
    if type(found) is not int:
        raise refuse(
            f"{path}/{name} must hold {mark_of(number).decode()}, found it damaged; write that"
            f"{then}"
        )
    if found > number:
        raise refuse(f"{path} has format {found}, this version writes {number}; update parquet2vec")


def on_disk(
    root: Path, name: str, mark: bytes, *, ours: Collection[str], create: bool
) -> bytes | None:
    """The mark of the folder `root`; None if there is none.

    `create` makes folder and mark where there is nothing but names that are `ours`.

    Raises:
        OSError: if it cannot be read, or not be made.
    """
    path = root / name
    if create and not path.exists():
        storage.make_folder(root)
        # Another run may have been killed before the mark had its name.
        others = {entry.name for entry in root.iterdir() if not entry.name.startswith(name)}
        if not others - {*ours, _HARMLESS}:
            storage.write_file(path, mark)
    return storage.read_file(path)


def in_store(
    root: S3Location, name: str, mark: bytes, *, ours: Collection[str], create: bool
) -> bytes | None:
    """The mark of the prefix `root`; None if there is none.

    `create` makes it where there is nothing but names that are `ours`.

    Raises:
        OSError: if the store cannot be read or written.
        PublishError: if it cannot create an object only once.
    """
    location = root.join(name)
    try:
        found = objects.read(location)
    except FileNotFoundError:
        found = None
    if create and (found is not None or not set(objects.children(root)) - {*ours, name}):
        found = found or mark
        objects.require_single(location, found)
    return found
