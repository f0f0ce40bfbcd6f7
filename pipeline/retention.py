"""Retention: which published versions stay."""

from __future__ import annotations

from pipeline.publishing import Destination


def keep_last(destination: Destination, count: int) -> list[str]:
    """Delete all but the last `count` versions; the one readers see always stays.

    Call it with the lock held. Returns the run ids that were deleted.
    """
    manifests = destination.published()
    pointer = destination.pointer
    old = [m.run_id for m in manifests[:-count] if pointer is None or m.run_id != pointer.run_id]
    for run_id in old:
        destination.remove(run_id)
    return old
