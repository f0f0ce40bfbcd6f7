"""Verification: hash again everything that was sealed."""

from __future__ import annotations

from pathlib import Path

from pipeline import bundle
from pipeline.config import Config
from pipeline.destinations import open_destination
from pipeline.errors import DestinationError


class Verification(Config):
    """What was checked and found intact."""

    path: str
    what: str
    files: int
    bytes: int


def verify(path: str | Path) -> Verification:
    """Check every hash of a bundle, or of all versions of a destination; audit the bundle's models.

    Raises:
        BundleError: if the bundle is damaged, or a model holds what it must not.
        DestinationError: if a published file is damaged or missing, or `path` is neither.
    """
    folder = Path(path)
    if (folder / bundle.MANIFEST).exists():
        opened = bundle.Bundle.open(folder)
        records = opened.manifest.files.values()
        for name in opened.manifest.files:
            if name.endswith(".onnx"):
                opened.model(name)
        size = sum(record.bytes for record in records)
        return Verification(path=str(path), what="bundle", files=len(records), bytes=size)
    destination = open_destination(folder)
    manifests = destination.published()
    damaged = [
        f"{manifest.run_id}/{part.name}"
        for manifest in manifests
        for part in manifest.files
        if not destination.intact(manifest.run_id, part)
    ]
    if damaged:
        raise DestinationError(
            f"{folder}: {len(damaged)} damaged or missing: {', '.join(damaged[:5])}; "
            "delete their versions and publish again"
        )
    parts = [part for manifest in manifests for part in manifest.files]
    size = sum(part.bytes for part in parts)
    return Verification(path=str(path), what="destination", files=len(parts), bytes=size)
