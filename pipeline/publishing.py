"""Publishing: readers see one complete run of one model, always.

What a destination is, wherever it lies; `disk_destination` and `s3_destination` are the two there
are. Both keep these promises: a version appears whole or not at all and never changes, the pointer
moves in one step, and what a killed run finished is found again.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from pipeline.config import Config

# Raise it when an older reader would misread a newer destination.
FORMAT = 1
MANIFEST = "_manifest.json"


class PartReport(Config):
    """One finished part: what it holds and the work that made it.

    `work` names model, options and input of the part: equal work gives equal bytes.
    """

    name: str
    rows: int
    bytes: int
    sha256: str
    work: str
    source: str
    row_groups: tuple[int, ...]


class VersionManifest(Config):
    """What a published version says of itself."""

    format: int
    run_id: str
    model: str
    rows: int
    options: dict[str, Any]
    source: str
    inputs: tuple[tuple[str, int, int], ...]
    files: tuple[PartReport, ...]
    versions: dict[str, str]
    published: str


class Pointer(Config):
    """Which version readers see; a pinned pointer stays when later runs publish."""

    run_id: str
    pinned: bool = False


class Stage(Protocol):
    """The parts of one run that are not published yet; a plain value that travels to workers."""

    def scratch(self, name: str) -> Path:
        """A new local file name for one attempt to write the part `name`.

        A name of its own for every attempt: a worker that was given up may still be writing.
        """

    def finish(self, scratch: Path, report: PartReport) -> PartReport:
        """Take the part written to `scratch`, and note that it is finished."""

    def finished(self, name: str, work: str) -> PartReport | None:
        """The part `name` if an earlier run made it by the same `work` and it is intact."""

    def reuse(self, report: PartReport, *, name: str, run_id: str) -> PartReport | None:
        """Take over a part of the version `run_id` under a new `name`; None if it is not intact."""


class Destination(Protocol):
    """Versions of an embedding table, and the pointer to the one that readers see."""

    @property
    def path(self) -> str:
        """Path or URL."""

    def locked(self) -> AbstractContextManager[None]:
        """Hold the destination alone, as far as the store can; `commit` decides all the same.

        Raises:
            LockedError: if another run holds it.
        """

    @property
    def pointer(self) -> Pointer | None:
        """Where the pointer leads, or None before the first version."""

    def has(self, run_id: str) -> bool:
        """Whether the version `run_id` is published."""

    def manifest(self, run_id: str) -> VersionManifest:
        """The manifest of a published version.

        Raises:
            DestinationError: if there is no such version, or its manifest is damaged.
        """

    def published(self) -> list[VersionManifest]:
        """The manifests of all published versions, oldest first."""

    def part(self, run_id: str, name: str) -> str:
        """Path or URL of a part of a version, for any reader of Parquet."""

    def intact(self, run_id: str, part: PartReport) -> bool:
        """Whether a published part has the bytes that were sealed."""

    def stage(self, run_id: str) -> Stage:
        """The work in progress of `run_id`, continued where a killed run left it."""

    def commit(self, stage: Stage, manifest: VersionManifest) -> None:
        """Seal the parts with their manifest and make them a version, in one step."""

    def point(self, pointer: Pointer) -> None:
        """Let readers see another version, in one step."""

    def clear_stages(self) -> None:
        """Drop all work in progress; call it with the lock held."""

    def remove(self, run_id: str) -> None:
        """Delete a version; call it with the lock held, and never with the current one."""
