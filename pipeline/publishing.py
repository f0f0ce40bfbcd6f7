"""Publishing: readers see one complete run of one model, always.

What a destination is, wherever it lies; `disk_destination` and `s3_destination` are the two there
are. Both keep these promises: a version appears whole or not at all and never changes, the pointer
moves in one step, and what a killed run finished is found again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeAlias

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from pipeline.config import Config
from pipeline.errors import ConfigError, DestinationError
from pipeline.locations import require_run_id
from pipeline.manifest import FileRecord
from pipeline.marks import require_format
from pipeline.profile import Block
from pipeline.seals import UNSEALED, Seal, is_intact, sealed

# Raise it when an older reader would misread a newer destination.
FORMAT = 1
MANIFEST = "_manifest.json"
MARK = "_parquet2vec.json"
DRIFT = "_drift"

# Why a pointer was moved.
PUBLISHED, ROLLBACK, UNPINNED = "published", "rollback", "unpinned"

# What a manifest says becomes part of a path, so that nothing else may stand in it.
RunId: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$")]
PartName: TypeAlias = Annotated[
    str, Field(pattern=r"^part-[0-9]{5,}-[A-Za-z0-9_-]{1,64}\.parquet$")
]


class PartReport(Config):
    """One finished part: what it holds and the work that made it.

    `work` names model, options and input of the part: equal work gives equal bytes. `profile`
    counts some of its rows, until the version is published with the counts of all in one file.
    """

    name: PartName
    rows: int
    bytes: int
    sha256: str
    work: str
    source: str
    row_groups: tuple[int, ...]
    null_keys: int = 0
    profile: Block | None = None

    @model_serializer(mode="wrap")
    def _without_empty_profile(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if name != "profile" or value}


class _Finished(Config):
    report: PartReport
    seal: Seal


def note_of(report: PartReport) -> bytes:
    """The bytes to note in a stage of a finished part."""
    return sealed(_Finished(report=report, seal=UNSEALED).model_dump_json().encode())


def noted(content: bytes) -> PartReport | None:
    """What `note_of` gave; None where it was changed or cut since."""
    try:
        note = _Finished.model_validate_json(content)
    except ValidationError:
        return None
    return note.report if is_intact(content, note.seal) else None


class Portion(Config):
    """Some of the parts of a version, and the rows in them."""

    parts: int
    rows: int

    @classmethod
    def of(cls, parts: Iterable[PartReport]) -> Portion:
        """The portion that `parts` are."""
        rows = [part.rows for part in parts]
        return cls(parts=len(rows), rows=sum(rows))


class Made(Config):
    """How a version was made: by whom (``user@host``), from when on, and in how many seconds.

    Its parts were `computed` by this very run, `resumed` from a run that was killed, or `reused`
    from another version. `flow_run` is Prefect's id of the run that asked for it.
    """

    started: str
    seconds: float
    by: str
    computed: Portion
    resumed: Portion
    reused: Portion
    flow_run: str | None = None


class PastVersion(Config):
    """What is remembered of a version, also when it is deleted."""

    run_id: RunId
    model: str
    rows: int
    parts: int
    bytes: int
    source: str
    published: str
    made: Made | None = None


class VersionManifest(Config):
    """What a published version says of itself; `seal` is there once it is published.

    `profile` seals the file that counts the rows which this run computed, where it counted any.
    `made` says how it came to be; the first versions did not. `past` remembers the versions before
    it, newest first.
    """

    format: int
    run_id: RunId
    model: str
    rows: int
    options: dict[str, Any]
    source: str
    inputs: tuple[tuple[str, int, int | str], ...]
    files: tuple[PartReport, ...]
    versions: dict[str, str]
    published: str
    profile: FileRecord | None = None
    made: Made | None = None
    past: tuple[PastVersion, ...] = ()
    seal: Seal | None = None


class Pointer(Config):
    """Which version readers see; a pinned pointer stays when later runs publish.

    `by` and `why` say who moved it there and for what reason, where that is kept.
    """

    run_id: RunId
    pinned: bool = False
    by: str | None = None
    why: str | None = None


class Move(Config):
    """Where a pointer was moved to, when, by whom and why; `pinned` by a rollback."""

    version: str
    at: datetime
    pinned: bool = False
    by: str | None = None
    why: str | None = None

    @property
    def pointer(self) -> Pointer:
        """The pointer that the move made."""
        return Pointer(run_id=self.version, **self.model_dump(include={"pinned", "by", "why"}))

    @staticmethod
    def of(pointer: Pointer, at: datetime) -> Move:
        """The move that led to `pointer`."""
        said = pointer.model_dump(exclude={"run_id"})
        return Move(version=pointer.run_id, at=at, **said)


def is_run_id(name: str) -> bool:
    """Whether `name` can be that of a version."""
    try:
        return require_run_id(name) == name
    except ConfigError:
        return False


def require_mark(found: bytes | None, *, path: str) -> None:
    """Refuse a destination at `path` that has not the mark, or that of a newer format.

    Raises:
        DestinationError: if it is not ours, is damaged, or must be left to a newer version.
    """
    if found is None:
        raise DestinationError(
            f"{path} must be empty or a destination of parquet2vec, found neither; "
            "choose another folder"
        )
    then = f", then run `parquet2vec verify {path}`"
    require_format(found, FORMAT, path=path, name=MARK, refuse=DestinationError, then=then)


def seal_manifest(manifest: VersionManifest) -> bytes:
    """The bytes of `manifest` to publish."""
    return sealed(manifest.model_copy(update={"seal": UNSEALED}).model_dump_json(indent=1).encode())


def read_manifest(content: bytes, *, run_id: str, path: str) -> VersionManifest:
    """The manifest in the bytes `content`, which were found at `path` as that of `run_id`.

    Raises:
        DestinationError: if it is damaged, of another version, or names what is no part.
    """
    try:
        manifest = VersionManifest.model_validate_json(content)
    except ValidationError:
        manifest = None
    changed = manifest is not None and manifest.seal and not is_intact(content, manifest.seal)
    if manifest is None or changed or manifest.run_id != run_id:
        raise DestinationError(
            f"{path} must be the manifest of version {run_id}, found it missing or damaged; "
            "embed again, or roll back to another version"
        )
    return manifest


def oldest_first(
    run_ids: Iterable[str], manifest: Callable[[str], VersionManifest]
) -> list[VersionManifest]:
    """The manifests of `run_ids` that are intact, in the order of their publication."""
    found = []
    for run_id in run_ids:
        try:
            found.append(manifest(run_id))
        except DestinationError:
            continue
    return sorted(found, key=lambda one: (one.published, one.run_id))


def not_whole(sizes: dict[str, int], manifest: VersionManifest) -> list[str]:
    """Parts that are missing from a version or have another size, by the `sizes` of its files."""
    return [part.name for part in manifest.files if sizes.get(part.name) != part.bytes]


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

    def reuse(
        self, report: PartReport, *, name: str, run_id: str, destination: str | None = None
    ) -> PartReport | None:
        """Take over a part of the version `run_id` under a new `name`; None if it is not intact.

        The version is one of this destination, or of another one by its path.
        """


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

    def history(self) -> list[Move]:
        """The moves of the pointer that are kept, the newest first: it is where that one says."""

    def superseded(self, run_id: str) -> datetime:
        """When readers were last given a version that is not the current one, or later; in UTC.

        It outlives every crash. A version that was never current counts from the last move.
        """

    def has(self, run_id: str) -> bool:
        """Whether the version `run_id` is published; it may be damaged."""

    def run_ids(self) -> list[str]:
        """The names of all published versions, sorted; also of those that are damaged."""

    def manifest(self, run_id: str) -> VersionManifest:
        """The manifest of a published version.

        Raises:
            DestinationError: if there is no such version, or its manifest is damaged.
        """

    def published(self) -> list[VersionManifest]:
        """The manifests of all versions that have an intact one, oldest first.

        One damaged manifest must not stop every later run: `verify` and `gc` tell of it.
        """

    def files(self, run_id: str) -> dict[str, int]:
        """Names and sizes in bytes of everything in a published version, the manifest included."""

    def part(self, run_id: str, name: str) -> str:
        """Path or URL of a part of a version, for any reader of Parquet."""

    def intact(self, run_id: str, part: PartReport) -> bool:
        """Whether a published part has the bytes that were sealed."""

    def profile(self, run_id: str) -> bytes | None:
        """What a version keeps in `RUN_PROFILE`, whatever its bytes; None if it is not there."""

    def drift_files(self) -> list[str]:
        """Names of what was noted of drift, sorted."""

    def read_drift(self, name: str) -> bytes | None:
        """What was noted under `name`; None if it is not there."""

    def write_drift(self, name: str, data: bytes | None) -> None:
        """Note `data` under `name` in the place of what was there; nothing is left of None."""

    def stage(self, run_id: str) -> Stage:
        """The work in progress of `run_id`, continued where a killed run left it."""

    def commit(
        self, stage: Stage, manifest: VersionManifest, *, profile: bytes | None = None
    ) -> None:
        """Seal parts and `profile` with their manifest and make them a version, in one step.

        Raises:
            PublishError: if a part is not there as its report says, or the version already is.
        """

    def point(self, pointer: Pointer) -> None:
        """Let readers see another version, in one step, and note who moved the pointer and when."""

    def sweep(self) -> list[str]:
        """Drop all work in progress and what killed runs left behind; with the lock held.

        Returns the names of what was dropped.
        """

    def remove(self, run_id: str) -> None:
        """Delete a version, so that none ever shows half of it; with the lock held.

        Only a damaged version may be the current one; the same run id is then published again.
        """
