"""Retention: which published versions stay, and what killed runs left goes."""

from __future__ import annotations

from pipeline.config import Config, RetentionJob
from pipeline.destinations import open_destination
from pipeline.errors import DestinationError, PublishError
from pipeline.keeping import beyond, is_over
from pipeline.publishing import Destination, VersionManifest, not_whole


class Cleaning(Config):
    """What `gc` deleted.

    `versions` were superseded and `damaged` ones cannot be read; `waiting` go later, their readers
    still have time. `leftovers` are unfinished work and temporary files.
    """

    destination: str
    versions: tuple[str, ...]
    damaged: tuple[str, ...]
    waiting: tuple[str, ...]
    leftovers: tuple[str, ...]


def gc(job: RetentionJob) -> Cleaning:
    """Delete unfinished work, versions beyond `keep`, and versions that are damaged.

    The current version stays, and every version that readers may still hold.

    Raises:
        DestinationError, LockedError, PublishError: if the destination cannot be cleaned.
    """
    destination = open_destination(job.destination)
    with destination.locked():
        try:
            damaged = set(damaged_versions(destination))
            # Before the leftovers: a version is deleted by way of them.
            gone = keep_last(destination, job.keep, grace=job.grace)
            for run_id in sorted(damaged - set(gone)):
                if _is_over(destination, run_id, grace=job.grace):
                    destination.remove(run_id)
                    gone.append(run_id)
            leftovers = destination.sweep()
            waiting = _beyond(destination, job.keep) + sorted(damaged - set(gone))
        except OSError as error:
            raise PublishError(
                f"cannot clean {job.destination}: {error.strerror or error}; run gc again when "
                "that is mended"
            ) from None
    return Cleaning(
        destination=destination.path,
        versions=tuple(run_id for run_id in gone if run_id not in damaged),
        damaged=tuple(run_id for run_id in gone if run_id in damaged),
        waiting=tuple(dict.fromkeys(waiting)),
        leftovers=tuple(leftovers),
    )


def keep_last(destination: Destination, count: int, *, grace: str) -> list[str]:
    """Delete all but the last `count` versions; the one that readers see always stays.

    A version stays too until the duration `grace` has passed since readers were last given it. Call
    it with the lock held. Returns the run ids that were deleted.
    """
    gone = [
        run_id
        for run_id in _beyond(destination, count)
        if _is_over(destination, run_id, grace=grace)
    ]
    for run_id in gone:
        destination.remove(run_id)
    return gone


def damaged_versions(destination: Destination) -> list[str]:
    """Versions whose manifest cannot be read, or that miss parts; nothing is hashed."""
    return [run_id for run_id in destination.run_ids() if whole(destination, run_id) is None]


def whole(destination: Destination, run_id: str) -> VersionManifest | None:
    """The manifest of a version that has all its parts at their size; None if there is no such."""
    if not destination.has(run_id):
        return None
    try:
        manifest = destination.manifest(run_id)
    except DestinationError:
        return None
    return None if not_whole(destination.files(run_id), manifest) else manifest


def _beyond(destination: Destination, count: int) -> list[str]:
    """Versions that are not among the last `count`, the current one left out."""
    # Manifests are long: not read where nothing can go.
    if len(destination.run_ids()) <= count:
        return []
    pointer = destination.pointer
    older = [manifest.run_id for manifest in destination.published()]
    return beyond(older, count, stay={pointer.run_id} if pointer else ())


def _is_over(destination: Destination, run_id: str, *, grace: str) -> bool:
    return not _is_current(destination, run_id) and is_over(destination.superseded(run_id), grace)


def _is_current(destination: Destination, run_id: str) -> bool:
    pointer = destination.pointer
    return pointer is not None and pointer.run_id == run_id
