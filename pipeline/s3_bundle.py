"""Putting a bundle into an object store: its files, then its manifest, and that makes it one."""

from __future__ import annotations

from pathlib import Path

from pipeline import objects
from pipeline.bundle import MANIFEST, REPORT, Bundle
from pipeline.errors import PublishError
from pipeline.locations import S3Location

_SHA256 = "sha256"


def upload(bundle: Bundle, version: S3Location) -> None:
    """Put the files of `bundle`, then its manifest, then see that all is as it was sealed."""
    for name, record in bundle.manifest.files.items():
        _put(bundle.path / name, version.join(name), record.sha256)
    for path in sorted((bundle.path / REPORT).glob("*")):
        objects.write(version.join(REPORT, path.name), path.read_bytes())
    created = objects.create(version.join(MANIFEST), (bundle.path / MANIFEST).read_bytes())
    differ = [
        name
        for name, record in bundle.manifest.files.items()
        if _noted(version.join(name)) != record.sha256
    ]
    if created and differ:
        objects.delete([version.join(MANIFEST)])
        raise PublishError(
            f"{version} was written by two runs at the same time, found other bytes in "
            f"{differ[0]}; run again"
        )


def _put(path: Path, location: S3Location, sha256: str) -> None:
    """Put a file where there is none, or what a killed upload left."""
    if objects.upload(path, location, {_SHA256: sha256}) or _noted(location) == sha256:
        return
    objects.delete([location])
    objects.upload(path, location, {_SHA256: sha256})


def _noted(location: S3Location) -> str | None:
    try:
        return objects.metadata(location)[1].get(_SHA256)
    except FileNotFoundError:
        return None
