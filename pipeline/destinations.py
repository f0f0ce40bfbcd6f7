"""Opening a destination wherever it lies."""

from __future__ import annotations

from pathlib import Path

from pipeline.disk_destination import DiskDestination
from pipeline.locations import S3Location, locate
from pipeline.publishing import Destination


def open_destination(path: str | Path, *, create: bool = False) -> Destination:
    """The destination at `path`; `create` makes it where there is nothing yet.

    Raises:
        DestinationError: if it is not ours, or of a newer format.
        PublishError: if it cannot be written.
        StoreError: if the store does not answer.
    """
    location = locate(path)
    if isinstance(location, S3Location):
        # A job on disk does not pay for loading it.
        from pipeline.s3_destination import S3Destination

        return S3Destination.open(location, create=create)
    return DiskDestination.open(location, create=create)
