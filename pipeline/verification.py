"""Verification: hash again everything that was sealed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline import bundle, limits
from pipeline.aliases import resolved
from pipeline.config import Config
from pipeline.destinations import open_destination
from pipeline.drift_notes import damaged_notes
from pipeline.errors import DestinationError
from pipeline.files import holds
from pipeline.profile import RUN_PROFILE
from pipeline.publishing import DRIFT, MANIFEST, Destination, VersionManifest

_SHOWN = 5


class Verification(Config):
    """What was checked and found intact."""

    path: str
    what: str
    files: int
    bytes: int
    versions: int = 0


def verify(path: str | Path) -> Verification:
    """Check every hash of a bundle, or of all versions of a destination.

    A destination must hold nothing but what was sealed, its pointer must lead to a version, and its
    notes of drift must be as they were written.

    Raises:
        BundleError: if the bundle is damaged, or a model holds what it must not.
        DestinationError: with all that is wrong, or if `path` is neither.
    """
    place = resolved(path)
    if holds(place, bundle.MANIFEST):
        opened = bundle.Bundle.open(place)
        opened.audit()
        records = opened.manifest.files.values()
        size = sum(record.bytes for record in records)
        return Verification(path=str(path), what="bundle", files=len(records), bytes=size)
    destination = open_destination(path)
    sealed, problems = _versions(destination)
    # A link that leads nowhere is no pointer; before the first version there is none either.
    if destination.pointer is None and destination.run_ids():
        problems.append("current leads to no version; `parquet2vec rollback DEST RUN` moves it")
    problems += [
        f"{DRIFT}/{name}, which `monitor` does not count; delete it"
        for name in damaged_notes(destination)
    ]
    if problems:
        more = [f"… and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise DestinationError(
            f"{path} must be as it was published, found {len(problems)} damaged or missing: "
            + "; ".join(problems[:_SHOWN] + more)
            + "; roll back if the current version is one of them, delete those versions and embed "
            "again"
        )
    parts = [part for manifest in sealed for part in manifest.files]
    size = sum(part.bytes for part in parts)
    return Verification(
        path=str(path), what="destination", files=len(parts), bytes=size, versions=len(sealed)
    )


def _versions(destination: Destination) -> tuple[list[VersionManifest], list[str]]:
    """The manifests of all versions, and what is wrong with any of them."""
    sealed: list[VersionManifest] = []
    problems: list[str] = []
    for run_id in destination.run_ids():
        try:
            manifest = destination.manifest(run_id)
            found = list(_wrong(destination, manifest))
        except DestinationError as error:
            found = [str(error)]
        else:
            sealed.append(manifest)
        # A run that publishes meanwhile may have deleted it.
        if found and destination.has(run_id):
            problems += found
    return sealed, problems


def _wrong(destination: Destination, manifest: VersionManifest) -> Iterator[str]:
    def is_intact(name: str) -> bool:
        return destination.intact(manifest.run_id, parts[name])

    parts = {part.name: part for part in manifest.files}
    with ThreadPoolExecutor(max_workers=limits.threads()) as pool:
        for name, intact in zip(parts, pool.map(is_intact, parts), strict=True):
            if not intact:
                yield f"{manifest.run_id}/{name}"
    record = manifest.profile
    if record is not None:
        profile = destination.profile(manifest.run_id)
        if profile is None or hashlib.sha256(profile).hexdigest() != record.sha256:
            yield f"{manifest.run_id}/{RUN_PROFILE}"
    known = {*parts, MANIFEST, *([RUN_PROFILE] if record else [])}
    for name in sorted(destination.files(manifest.run_id).keys() - known):
        yield f"{manifest.run_id}/{name} is no part of the version"
