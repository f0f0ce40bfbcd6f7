"""Where an embedding spends its time: before the first shard, in the shards, after the last one.

Usage: python benchmarks/phases.py BUNDLE SOURCE DEST

Prints one JSON document: CPU and wall seconds of planning (footers, checks, the plan), of mapping
(the shards, on one thread) and of publishing (syncs, manifest, rename, pointer). Planning and
publishing are what one process does alone, however many machines share the shards.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from pipeline import EmbeddingJob, embed
from pipeline.publishing import PartReport
from pipeline.shards import Shard
from pipeline.version_making import on_threads

PHASES = ("planning", "mapping", "publishing")


def phases(bundle: str, source: str, dest: str) -> dict[str, dict[str, float]]:
    """Seconds of every phase, ``cpu`` and ``wall``."""
    marks = [_now()]

    def mapped(
        function: Callable[[Shard], PartReport], shards: Sequence[Shard]
    ) -> Iterator[PartReport]:
        marks.append(_now())
        yield from on_threads(function, shards, threads=1)
        marks.append(_now())

    embed(EmbeddingJob(bundle=bundle, source=source, destination=dest), map_shards=mapped)
    marks.append(_now())
    spent = zip(PHASES, marks, marks[1:], strict=False)
    return {
        phase: {"cpu": end[0] - start[0], "wall": end[1] - start[1]} for phase, start, end in spent
    }


def _now() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


if __name__ == "__main__":
    print(json.dumps(phases(*sys.argv[1:])))
