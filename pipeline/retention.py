"""Retention: which published versions stay."""

from __future__ import annotations

import shutil

from pipeline.publishing import Destination


def keep_last(destination: Destination, count: int) -> list[str]:
    """Delete all but the last `count` versions; the one readers see always stays.

    Call it with the lock held. Returns the run ids that were deleted.
    """
    manifests = destination.published()
    old = [m.run_id for m in manifests[:-count] if m.run_id != destination.current]
    for run_id in old:
        shutil.rmtree(destination.version(run_id))
    return old
