"""A small table and its encoder, on disk and in the store, and what embedding it must give."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from workloads import Workload

from pipeline import EmbeddingJob, embed, objects
from pipeline.destinations import open_destination
from pipeline.locations import S3Location, locate
from pipeline.resolution import resolve

SMALL = Workload(
    "s3", 600, 3, (8, 4), null_share=0.1, cardinalities=(5,), sample=300, files=3, profiled=True
)


@dataclass(frozen=True, eq=False)
class World:
    """The same bundle and table in both places; `expected` are the parts' hashes, in order."""

    bundle: Path
    source: Path
    stored_bundle: str
    stored_source: str
    expected: tuple[str, ...]

    def job(self, destination: str | Path, **options: object) -> EmbeddingJob:
        """From store to store, unless `options` say otherwise."""
        known = {
            "bundle": self.stored_bundle,
            "source": self.stored_source,
            "destination": str(destination),
            "threads": 1,
        }
        return EmbeddingJob.model_validate(known | options)


def make_world(folder: Path, root: S3Location) -> World:
    """The world in `folder` and below `root`."""
    bundle, source = SMALL.bundle(folder).path, SMALL.write(folder)
    stored = (root.join("bundle"), root.join("table"))
    for here, there in zip((bundle, source), stored, strict=True):
        put(here, there)
    known = {"bundle": str(bundle), "source": str(source), "destination": str(folder / "local")}
    embed(EmbeddingJob.model_validate(known))
    return World(bundle, source, str(stored[0]), str(stored[1]), hashes(folder / "local"))


def put(folder: Path, to: S3Location) -> None:
    """Copy a folder into the store."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            objects.write(to.join(*path.relative_to(folder).parts), path.read_bytes())


def hashes(destination: str | Path, run: str | None = None) -> tuple[str, ...]:
    """SHA-256 of what readers of a destination are given, in the order of the rows."""
    files = resolve(destination, run).files
    return tuple(hashlib.sha256(content(file)).hexdigest() for file in files)


def profile(destination: str | Path) -> str | None:
    """SHA-256 of the profile of the version that readers see, which its manifest seals; if any.

    Raises:
        DestinationError: if there is no version.
    """
    opened, run_id = open_destination(destination), resolve(destination).run_id
    found, sealed = opened.profile(run_id), opened.manifest(run_id).profile
    if found is None or sealed is None:
        assert (found, sealed) == (None, None)
        return None
    assert (len(found), hashlib.sha256(found).hexdigest()) == (sealed.bytes, sealed.sha256)
    return sealed.sha256


def content(file: str) -> bytes:
    """The bytes of a file or an object."""
    location = locate(file)
    return objects.read(location) if isinstance(location, S3Location) else location.read_bytes()


def names(prefix: str) -> list[str]:
    """Keys below a URL, relative to it."""
    base = locate(prefix)
    assert isinstance(base, S3Location)
    return sorted(facts.location.key[len(base.key) + 1 :] for facts in objects.listed(base))


def add_file(world: World, to: S3Location, *, seed: int) -> str:
    """A copy of the stored table with one more file."""
    put(world.source, to)
    path = world.source.parent / f"z-{seed}.parquet"
    pq.write_table(SMALL.table(100, seed=seed), path)
    objects.write(to.join(path.name), path.read_bytes())
    return str(to)


Place = Callable[[], str]
