"""The table, the model and the runs that were never disturbed, against which trials are held."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from workloads import Workload

from harness import tree
from pipeline import EmbeddingJob, embed
from pipeline.profile import RUN_PROFILE
from pipeline.publishing import MANIFEST

SMALL = Workload(
    "chaos",
    600,
    3,
    (8, 4),
    null_share=0.1,
    cardinalities=(5,),
    sample=300,
    files=3,
    profiled=True,
)


DESTINATION = "DESTINATION"


@dataclass(frozen=True, eq=False)
class Version:
    """What a version must hold: its rows, its parts with their SHA-256, and its profile's.

    `reports` are what its manifest says of the parts.

    A profile counts what a run computed. So runs of the same work that found other parts to take
    over publish other `profiles`; each run one of them. Here is how many rows each of them tells.
    """

    run_id: str
    table: pa.Table
    parts: dict[str, str]
    reports: list[dict[str, object]]
    profiles: dict[str, int]


@dataclass(frozen=True, eq=False)
class World:
    """A command that is about to give readers `new`.

    They see `old`, or nothing yet where it is None; `older` stands there too. `before` is the
    destination as each trial finds it, DESTINATION where it stands in `command`. `rival` is what
    another job may publish to the same destination. A command that is not `tidy` leaves what a
    killed one began to the next job.
    """

    bundle: Path
    source: Path
    command: tuple[str, ...]
    before: tree.Tree
    older: Version | None
    old: Version | None
    new: Version
    rival: Version | None = None
    tidy: bool = True

    def argv(self, destination: str | Path) -> tuple[str, ...]:
        """The command, with its destination."""
        return tuple(str(destination) if word == DESTINATION else word for word in self.command)

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
    command = embed_command(bundle, source, given)
    job = job_of(bundle, source, destination, given)
    older = version(destination, embed(job).run_id)
    change(source, 0, seed=100)
    old = version(destination, embed(job).run_id)
    before = tree.load(destination)
    change(source, 1, seed=101)
    change(source, 3, seed=102)
    new = version(destination, embed(job).run_id)
    return World(bundle, source, command, before, older, old, new)


def first_publication(world: World) -> World:
    """The same work, to a destination that is not there yet, where all is to be computed."""
    destination = world.bundle.parent / "first"
    job = job_of(world.bundle, world.source, destination, {"threads": 1})
    new = replace(world.new, profiles=version(destination, embed(job).run_id).profiles)
    return replace(world, before={}, older=None, old=None, new=new)


def cleaning(world: World) -> World:
    """`gc` where two versions are published and one is to be kept."""
    command = ("gc", DESTINATION, "--keep", "1", "--grace", "0s")
    return replace(published(world), command=command)


def rolling_back(world: World) -> World:
    """`rollback` to the version before."""
    assert world.old is not None
    command = ("rollback", DESTINATION, world.old.run_id)
    return replace(published(world), command=command, new=world.old, tidy=False)


def published(world: World) -> World:
    """The same destination after the job: `new` is what readers see, and the old one stands."""
    after = tree.load(world.bundle.parent / "reference")
    return replace(world, before=after, older=world.old, old=world.new)


def embed_command(bundle: Path, source: Path, options: dict[str, object]) -> tuple[str, ...]:
    """The command line of a job."""
    words = (word for name, value in options.items() for word in (f"--{name}", str(value)))
    return ("embed", str(bundle), str(source), DESTINATION, *words)


def make_rivals(world: World) -> tuple[World, World]:
    """Two jobs with different outputs for one destination, whose readers are given time."""
    destination = world.bundle.parent / "rival"
    job = job_of(world.bundle, world.source, destination, {"threads": 1, "dtype": "float16"})
    other = version(destination, embed(job).run_id)
    given: dict[str, object] = {"threads": 1, "keep": 1, "grace": "15m"}
    command = embed_command(world.bundle, world.source, given)
    # After the other one there is nothing to take over.
    profiles = world.new.profiles | first_publication(world).new.profiles
    new = replace(world.new, profiles=profiles)
    first = replace(world, command=command, new=new, rival=other)
    command = embed_command(world.bundle, world.source, given | {"dtype": "float16"})
    return first, replace(first, command=command, new=other, rival=new)


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


def counted_rows(profile: bytes) -> int:
    """Rows that the run of a profile computed."""
    return int(json.loads(profile)["run"]["rows"])


def version(destination: Path, run_id: str) -> Version:
    """The version that an undisturbed run has just published."""
    folder = destination / "versions" / run_id
    reports = json.loads((folder / MANIFEST).read_bytes())["files"]
    profiles = {sha256(folder / RUN_PROFILE): counted_rows((folder / RUN_PROFILE).read_bytes())}
    return Version(run_id, pq.read_table(folder), hashes(folder), reports, profiles)


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the parts in `folder`, by name."""
    return {part.name: sha256(part) for part in sorted(folder.glob("*.parquet"))}


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal text."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
