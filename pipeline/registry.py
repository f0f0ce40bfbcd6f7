"""The registry of models: bundles as versions, and aliases that lead to one of them.

::

    MODELS/versions/<id>        a bundle, with its report; appears whole and never changes
    MODELS/production           alias: the version that embeds; moved through the gate, in one step
    MODELS/candidate            alias: the version that was trained last
    MODELS/lineage/<id>.json    which table, which code, which run a version came from

What a registry is, wherever it lies; `disk_registry` and `s3_registry` are the two there are. Both
keep these promises: a version appears whole or not at all, and an alias leads to the old version or
to the new one at whatever call a process is killed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from itertools import chain, pairwise
from pathlib import Path
from typing import Protocol

from pipeline import storage
from pipeline.errors import BundleError, LockedError
from pipeline.lineage import Lineage
from pipeline.locations import ALIASES, PRODUCTION
from pipeline.manifest import Manifest
from pipeline.marks import require_format
from pipeline.publishing import MARK as DESTINATION_MARK
from pipeline.publishing import Move, Pointer

# Raise it when an older reader would misread a newer registry.
FORMAT = 1
MARK = "_models.json"


class Registry(Protocol):
    """Versions of a model, and the aliases that lead to them."""

    @property
    def path(self) -> str:
        """Path or URL."""

    def locked(self) -> AbstractContextManager[None]:
        """Hold aliases and versions alone, as far as the store can.

        Raises:
            LockedError: if another process holds them.
        """

    def claimed(self, version: str) -> AbstractContextManager[Path]:
        """The folder where `version` is trained, held alone on this machine.

        Raises:
            LockedError: if another run trains it.
        """

    def has(self, version: str) -> bool:
        """Whether there is a bundle of that name; it may be damaged."""

    def versions(self) -> list[str]:
        """The names of all versions, oldest first."""

    def location(self, version: str) -> str:
        """Path or URL of a version, for `Bundle.open`."""

    def manifest(self, version: str) -> Manifest:
        """What a version says of itself; no other file of it is looked at.

        Raises:
            BundleError: if that is damaged, or of a newer format.
        """

    def lineage(self, version: str) -> Lineage | None:
        """Where a version came from; None if that was not recorded, or is damaged."""

    def attached(self, version: str, name: str) -> bytes | None:
        """A file of the version's report; None if there is none."""

    def add(self, folder: Path, lineage: Lineage) -> None:
        """Make the bundle in `folder` the version that `lineage` names, in one step.

        A version that is there already stays as it is, and so does what is recorded of it.

        Raises:
            BundleError: if the bundle is damaged.
            PublishError: if it cannot be written.
        """

    def alias(self, name: str) -> Pointer | None:
        """Where an alias leads, whether that is there or not; None before its first move."""

    def history(self, name: str) -> list[Move]:
        """The moves of an alias, the newest first: it is where that one says."""

    def move(self, name: str, pointer: Pointer, *, expected: Pointer | None) -> bool:
        """Let an alias lead elsewhere, in one step; False if it is not as `expected` any more.

        Raises:
            BundleError: if there is no such version.
            LockedError, PublishError: if it cannot be moved.
        """

    def left(self, version: str) -> datetime:
        """When an alias was last moved away from a version, or when that was registered; in UTC."""

    def remove(self, version: str) -> bool:
        """Delete a version, so that nobody ever opens half of it; with the lock held.

        False, and it is there, if an alias was moved to it meanwhile.
        """

    def sweep(self) -> list[str]:
        """Delete what killed runs left behind long ago; with the lock held. Returns its names."""


def require_mark(found: bytes | None, names: Sequence[str], *, path: str) -> None:
    """Refuse a registry at `path`, with `names` in it, that has not the mark, or a newer format.

    Raises:
        BundleError: if it is none, is damaged, or must be left to a newer version.
    """
    if found is None:
        what = "a destination of vectors" if DESTINATION_MARK in names else "neither"
        raise BundleError(
            f"{path} must be empty or a folder of models, found {what if names else 'nothing'}; "
            "`parquet2vec flow refresh` and `parquet2vec models add` make one"
        )
    require_format(found, FORMAT, path=path, name=MARK, refuse=BundleError)


def find(registry: Registry, name: str) -> str:
    """The one version that `name` names: an alias, a version, or the beginning of one.

    Raises:
        BundleError: if there is none, or more than one.
    """
    if name in ALIASES:
        pointer = registry.alias(name)
        if pointer is None or not registry.has(pointer.run_id):
            raise BundleError(_leads_nowhere(registry, name, pointer))
        return pointer.run_id
    versions = registry.versions()
    found = [name] if name in versions else [one for one in versions if one.startswith(name)]
    if name and len(found) == 1:
        return found[0]
    raise BundleError(
        f"{_short(name)!r} must name one version of {registry.path}, found {len(found)}; "
        f"`parquet2vec models list {registry.path}` lists them"
    )


def is_as(now: Pointer | None, expected: Pointer | None) -> bool:
    """Whether an alias leads where it was expected to, and is pinned there or not as it was."""
    if now is None or expected is None:
        return now is expected
    return (now.run_id, now.pinned) == (expected.run_id, expected.pinned)


def left_by_aliases(registry: Registry, version: str) -> list[datetime]:
    """When aliases were moved away from `version`."""
    moves = (pairwise(registry.history(name)) for name in ALIASES)
    return [after.at for after, one in chain.from_iterable(moves) if one.version == version]


@contextmanager
def claim(path: Path, what: str) -> Iterator[None]:
    """Hold `what` alone by a lock at `path`.

    Raises:
        LockedError: if another process holds it.
    """
    try:
        with storage.lock(path):
            yield
    except LockedError:
        raise LockedError(
            f"{what} is being trained by another run; wait for it, or stop it first"
        ) from None


def _short(name: str) -> str:
    return name if len(name) <= 80 else f"{name[:77]}..."


def _leads_nowhere(registry: Registry, name: str, pointer: Pointer | None) -> str:
    if pointer is None:
        return (
            f"{registry.path} must have a model in {name}, found none; "
            "`parquet2vec flow refresh` trains and promotes one"
        )
    return (
        f"{registry.path}/{name} must lead to a bundle, found that version {pointer.run_id} is not "
        f"there any more; `parquet2vec models rollback {registry.path} VERSION` leads to one"
    )


def before_production(registry: Registry) -> str | None:
    """The version that production had before the one that it has now; None if none is left.

    A rollback undoes the promotions after the one that it goes back to.
    """
    stack: list[str] = []
    for move in reversed(registry.history(PRODUCTION)):
        if move.pinned and move.version in stack:
            del stack[stack.index(move.version) + 1 :]
        else:
            stack = [*(one for one in stack if one != move.version), move.version]
    return next(filter(registry.has, reversed(stack[:-1])), None)
