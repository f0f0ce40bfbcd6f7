"""The table, the model and the runs that were never disturbed, against which trials are held."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from workloads import Workload

from harness import tree
from pipeline import EmbeddingJob, embed

SMALL = Workload("chaos", 600, 3, (8, 4), null_share=0.1, cardinalities=(5,), sample=300, files=3)


@dataclass(frozen=True, eq=False)
class Version:
    """What a version must hold: its rows, and its parts with their SHA-256."""

    run_id: str
    table: pa.Table
    parts: dict[str, str]


@dataclass(frozen=True, eq=False)
class World:
    """A job that is about to publish `new`.

    Readers see `old`, or nothing yet where it is None; `older` stands there too and is one too
    many once `new` is published. `before` is the destination as each trial finds it. `rival` is
    what another job may publish to the same destination.
    """

    bundle: Path
    source: Path
    options: tuple[str, ...]
    before: tree.Tree
    older: Version | None
    old: Version | None
    new: Version
    rival: Version | None = None

    def argv(self, destination: str | Path) -> tuple[str, ...]:
        """The command that publishes `new`."""
        return ("embed", str(self.bundle), str(self.source), str(destination), *self.options)

    @property
    def inputs(self) -> tuple[Path, ...]:
        """What the job reads."""
        return (self.bundle, self.source)

    @property
    def versions(self) -> dict[str, Version]:
        """Every version that may be seen, by run id."""
        some = (self.older, self.old, self.new, self.rival)
        return {version.run_id: version for version in some if version is not None}


def make_world(folder: Path, *, vector: str = "fixed", dtype: str = "float32") -> World:
    """Three small files, embedded twice; then one changes and a fourth comes.

    So the run that is disturbed links two parts, makes two, moves the pointer and deletes a
    version.
    """
    bundle, source = SMALL.bundle(folder).path, SMALL.write(folder)
    destination = folder / "reference"
    given = {"threads": 1, "keep": 2, "grace": "0s", "vector": vector, "dtype": dtype}
    options = tuple(word for name, value in given.items() for word in (f"--{name}", str(value)))
    job = job_of(bundle, source, destination, given)
    older = version(destination, embed(job).run_id)
    change(source, 0, seed=100)
    old = version(destination, embed(job).run_id)
    before = tree.load(destination)
    change(source, 1, seed=101)
    change(source, 3, seed=102)
    new = version(destination, embed(job).run_id)
    return World(bundle, source, options, before, older, old, new)


def first_publication(world: World) -> World:
    """The same work, to a destination that is not there yet."""
    return World(world.bundle, world.source, world.options, {}, None, None, world.new)


def make_rivals(world: World) -> tuple[World, World]:
    """Two jobs with different outputs for one destination, whose readers are given time."""
    destination = world.bundle.parent / "rival"
    job = job_of(world.bundle, world.source, destination, {"threads": 1, "dtype": "float16"})
    other = version(destination, embed(job).run_id)
    options = ("--threads", "1", "--keep", "1", "--grace", "15m")
    first = replace(world, options=options, rival=other)
    return first, replace(
        first, options=(*options, "--dtype", "float16"), new=other, rival=world.new
    )


def job_of(
    bundle: Path, source: Path, destination: Path, options: dict[str, object]
) -> EmbeddingJob:
    """A job for a run in this process."""
    known = {"bundle": str(bundle), "source": str(source), "destination": str(destination)}
    return EmbeddingJob.model_validate({**known, **options})


def change(source: Path, index: int, *, seed: int) -> None:
    """Write the file `index` anew, with a time of change that no earlier one had."""
    path = source / f"part-{index:05d}.parquet"
    pq.write_table(SMALL.table(200 + index, seed=seed), path, row_group_size=100)
    stamp = time.time_ns()
    os.utime(path, ns=(stamp, stamp))


def version(destination: Path, run_id: str) -> Version:
    """The version that an undisturbed run has just published."""
    folder = destination / "versions" / run_id
    return Version(run_id, pq.read_table(folder), hashes(folder))


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the parts in `folder`, by name."""
    parts = sorted(folder.glob("*.parquet"))
    return {part.name: hashlib.sha256(part.read_bytes()).hexdigest() for part in parts}
