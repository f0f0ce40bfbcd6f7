"""Resolution: the fixed list of files of one version, for readers that must not fail."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import Config
from pipeline.destinations import open_destination
from pipeline.errors import DestinationError
from pipeline.publishing import Destination


class Resolution(Config):
    """One version of a destination: its files stay at least for the grace time of the job."""

    destination: str
    run_id: str
    model: str
    rows: int
    published: str
    files: tuple[str, ...]


def resolve(path: str | Path, run: str | None = None) -> Resolution:
    """Paths or URLs of the parts of the current version, in the order of their rows.

    `run` names another version, by its run id or the beginning of it.

    Raises:
        DestinationError: if nothing is published, or there is no such version.
    """
    destination = open_destination(path)
    manifest = destination.manifest(find(destination, run) if run else current(destination))
    return Resolution(
        destination=destination.path,
        run_id=manifest.run_id,
        model=manifest.model,
        rows=manifest.rows,
        published=manifest.published,
        files=tuple(destination.part(manifest.run_id, part.name) for part in manifest.files),
    )


def current(destination: Destination) -> str:
    """The run id of the version that readers see.

    Raises:
        DestinationError: if there is none.
    """
    pointer = destination.pointer
    if pointer is not None:
        return pointer.run_id
    found = len(destination.run_ids())
    raise DestinationError(
        f"{destination.path} must have a current version, found none among {found} published; "
        + (f"`parquet2vec rollback {destination.path} RUN` names one" if found else "embed first")
    )


def find(destination: Destination, run: str) -> str:
    """The run id of the one version whose run id begins with `run`.

    Raises:
        DestinationError: if there is none, or more than one.
    """
    run_ids = destination.run_ids()
    found = [run] if run in run_ids else [name for name in run_ids if name.startswith(run)]
    if run and len(found) == 1:
        return found[0]
    raise DestinationError(
        f"a run of {destination.path} must be one of its versions, found {len(found)} for "
        f"{run!r}; `parquet2vec inspect {destination.path}` lists them"
    )
