"""Opening a destination wherever it lies."""

from __future__ import annotations

from pathlib import Path

from pipeline.disk_destination import DiskDestination
from pipeline.publishing import Destination


def open_destination(path: str | Path, *, create: bool = False) -> Destination:
    """The destination at `path`; `create` makes it where there is nothing yet.

    Raises:
        DestinationError: if it is not ours, or of a newer format.
        PublishError: if it cannot be written.
    """
    return DiskDestination.open(Path(path), create=create)
