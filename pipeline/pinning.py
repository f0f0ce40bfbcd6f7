"""Pinning: readers get an older version, and keep it until the pointer is let go again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.config import Config
from pipeline.destinations import open_destination
from pipeline.errors import DestinationError, PublishError
from pipeline.lineage import who
from pipeline.publishing import ROLLBACK, UNPINNED, Destination, Pointer
from pipeline.resolution import current, find
from pipeline.retention import whole


class Rollback(Config):
    """Which version readers see now, and which one they saw before."""

    destination: str
    run_id: str
    previous: str | None
    pinned: bool


def rollback(path: str | Path, run: str | None = None) -> Rollback:
    """Let readers see an older version and pin it: later runs publish, but do not move them.

    It is the version before the current one, or `run`, a run id or the beginning of one.

    Raises:
        DestinationError: if there is no such version, or it is damaged.
        LockedError, PublishError: if the destination cannot be changed.
    """

    def target(destination: Destination) -> Pointer:
        run_id = find(destination, run) if run is not None else _before_current(destination)
        if whole(destination, run_id) is None:
            raise DestinationError(
                f"version {run_id} of {path} must be whole, found files missing or cut; "
                "choose another"
            )
        return Pointer(run_id=run_id, pinned=True, by=who(), why=ROLLBACK)

    return _point(path, target)


def unpin(path: str | Path) -> Rollback:
    """Let readers see the newest version again, and whatever later runs publish.

    Raises:
        DestinationError: if no version is whole.
        LockedError, PublishError: if the destination cannot be changed.
    """

    def target(destination: Destination) -> Pointer:
        for manifest in reversed(destination.published()):
            if whole(destination, manifest.run_id):
                return Pointer(run_id=manifest.run_id, by=who(), why=UNPINNED)
        raise DestinationError(f"{path} must have a whole version, found none; embed again")

    return _point(path, target)


def _point(path: str | Path, target: Callable[[Destination], Pointer]) -> Rollback:
    destination = open_destination(path)
    with destination.locked():
        try:
            before, after = destination.pointer, target(destination)
            destination.point(after)
        except OSError as error:
            raise PublishError(
                f"cannot move the pointer of {path}: {error.strerror or error}; readers see what "
                f"`parquet2vec inspect {path}` calls current"
            ) from None
    return Rollback(
        destination=destination.path,
        run_id=after.run_id,
        previous=before.run_id if before else None,
        pinned=after.pinned,
    )


def _before_current(destination: Destination) -> str:
    now = current(destination)
    run_ids = [manifest.run_id for manifest in destination.published()]
    older = run_ids[: run_ids.index(now)] if now in run_ids else []
    if not older:
        raise DestinationError(
            f"{destination.path} must have a version before the current one, found none; "
            f"`parquet2vec inspect {destination.path}` lists what there is"
        )
    return older[-1]
