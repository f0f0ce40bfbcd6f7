"""A row's vector must not depend on its neighbours, nor on how many threads computed it."""

from __future__ import annotations

from typing import Any

import numpy as np

from export.candidate import EMBEDDING, ERROR, SHOWN_DECODER, Candidate
from export.models import CORE, DECODER, ENCODER, SCORER
from export.parity import STEADY_TOLERANCE, Array, agree, identical
from export.runtime import Arrays, count, take
from export.trace import output_name

BATCH_SIZES = (1, 2, 3, 17, 64)
BATCHES = 40
THREADED_ROWS = 2_049
_ROWS = 257


def check_steady(candidate: Candidate) -> dict[str, Any]:
    """Largest difference over batch sizes 0, 1, 2, odd, and over threads 1, 2; whether any bit."""
    joined = {
        name: np.concatenate([rows.feeds[name][:_ROWS] for rows in candidate.rows])
        for name in candidate.rows[0].feeds
    }
    # Columns may lie far apart where their reconstructions do not, so those are compared.
    inner = [output_name(name) for name in candidate.decoded_matrices]
    return {"tolerance": STEADY_TOLERANCE} | {
        ENCODER: _spread(ENCODER, candidate, joined, [EMBEDDING]),
        CORE: _spread(CORE, candidate, joined, [EMBEDDING]),
        SCORER: _spread(SCORER, candidate, joined, [EMBEDDING, ERROR]),
        DECODER: _spread(SHOWN_DECODER, candidate, candidate.latents["prior"], inner),
    }


def _spread(file: str, candidate: Candidate, feeds: Arrays, outputs: list[str]) -> dict[str, Any]:
    batches = _over_batches(file, candidate, feeds, outputs)
    threads = _over_threads(file, candidate, feeds, outputs)
    return {
        "batch_sizes": max(worst for worst, _ in batches),
        "threads": max(worst for worst, _ in threads),
        "bit_identical": all(exact for _, exact in (*batches, *threads)),
    }


def _over_batches(
    file: str, candidate: Candidate, feeds: Arrays, outputs: list[str]
) -> list[tuple[float, bool]]:
    whole, found = candidate.run(file, feeds), list[tuple[float, bool]]()
    for size in (0, *BATCH_SIZES):
        # Single rows are slow to run one by one; a few of them tell enough.
        used = take(feeds, slice(size * BATCHES))
        starts = range(0, count(used), size) if size else [0]
        parts = [candidate.run(file, take(used, slice(start, start + size))) for start in starts]
        for name in outputs:
            joined = np.concatenate([part[name] for part in parts])
            found.append(_compare(f"{file} in batches of {size}", whole[name], joined, used))
    return found


def _over_threads(
    file: str, candidate: Candidate, feeds: Arrays, outputs: list[str]
) -> list[tuple[float, bool]]:
    """Enough rows for two threads to share them, and the same rows again alone."""
    many = take(feeds, np.arange(max(THREADED_ROWS, count(feeds))) % count(feeds))
    few, one = candidate.run(file, feeds), candidate.run(file, many)
    two = candidate.run(file, many, threads=2)
    found = []
    for name in outputs:
        found.append(_compare(f"{file} on 2 threads", one[name], two[name], many))
        found.append(_compare(f"{file} in a larger batch", one[name], few[name], feeds))
    return found


def _compare(check: str, expected: Array, found: Array, rows: Arrays) -> tuple[float, bool]:
    """The largest difference of `found` from the first rows of `expected`, and whether any bit."""
    first = expected[: len(found)]
    worst = agree(check, first, found, rows=rows, tolerance=STEADY_TOLERANCE)
    return worst, identical(first, found)
