"""A destination on local disk.

::

    DEST/current -> versions/<run_id>     what readers open; swapped by one rename
    DEST/versions/<run_id>/part-….parquet immutable; _manifest.json beside them
    DEST/_stage/<run_id>/…                work in progress; survives a kill and is resumed
    DEST/_lock                            held while a run writes; dropped when its process dies
    DEST/_pinned                          there while the pointer is pinned
    DEST/_moves.json                      when the pointer moved where, by whom and why
    DEST/_drift/<run_id>.json             what `monitor` found, and its picture
    DEST/_parquet2vec.json                marks the folder as ours, with the format

A name counts as durable only after its folder was synced, in this order: parts and manifest, the
version, the pointer, and only then what the pointer has left may be deleted.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipeline import marks, storage
from pipeline.disk_pointer import CURRENT, MOVES, PINNED, DiskPointer
from pipeline.disk_stage import DiskStage, intact
from pipeline.errors import DestinationError, PublishError
from pipeline.marks import mark_of
from pipeline.profile import RUN_PROFILE
from pipeline.publishing import (
    DRIFT,
    FORMAT,
    MANIFEST,
    MARK,
    Move,
    PartReport,
    Pointer,
    Stage,
    VersionManifest,
    is_run_id,
    not_whole,
    oldest_first,
    read_manifest,
    require_mark,
    seal_manifest,
)

_NAMES = (CURRENT, PINNED, MOVES, "versions", "_stage", "_lock", DRIFT, MARK)
_REMOVED = ".removed"
_GIVEN_UP = 3_600


@dataclass(frozen=True)
class DiskDestination:
    """A folder that holds versions of an embedding table."""

    root: Path

    @classmethod
    def open(cls, root: Path, *, create: bool = False) -> DiskDestination:
        """The destination at `root`; `create` makes it where there is nothing yet.

        Raises:
            DestinationError: if it is not ours, or of a newer format.
            PublishError: if it cannot be written.
        """
        try:
            found = marks.on_disk(root, MARK, mark_of(FORMAT), ours=_NAMES, create=create)
            if found is None and not root.exists():
                raise DestinationError(f"{root} does not exist; check the path")
        except FileExistsError:
            raise DestinationError(f"{root} must be a folder, found a file") from None
        except OSError as error:
            raise PublishError(f"cannot use {root}: {error.strerror}") from None
        require_mark(found, path=str(root))
        return cls(root)

    @property
    def path(self) -> str:
        """The folder."""
        return str(self.root)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the destination alone.

        Raises:
            LockedError: if another run holds it.
        """
        with storage.lock(self.root / "_lock"):
            yield

    @property
    def pointer(self) -> Pointer | None:
        """Where `current` leads; None before the first version, or if it leads to no version."""
        run_id = self._pointer.target()
        if run_id is None or not self.has(run_id):
            return None
        return Pointer(run_id=run_id, pinned=self._pointer.pinned)

    def history(self) -> list[Move]:
        """The moves of the pointer that are kept, the newest first."""
        return self._pointer.history()

    def superseded(self, run_id: str) -> datetime:
        """When readers were last given a version that is not the current one, or later; in UTC."""
        return self._pointer.superseded(run_id)

    def has(self, run_id: str) -> bool:
        """Whether the version `run_id` is published; it may be damaged."""
        return is_run_id(run_id) and self._version(run_id).is_dir()

    def run_ids(self) -> list[str]:
        """The names of all published versions, sorted; also of those that are damaged."""
        folder = self.root / "versions"
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        return sorted(name for name in names if self.has(name))

    def manifest(self, run_id: str) -> VersionManifest:
        """The manifest of a published version.

        Raises:
            DestinationError: if there is no such version, or its manifest is damaged.
        """
        if not self.has(run_id):
            raise DestinationError(
                f"{self.root} has no version {run_id}; `parquet2vec inspect {self.root}` lists them"
            )
        path = self._version(run_id) / MANIFEST
        # Any other error than that it is not there says nothing about the version.
        sealed = storage.read_file(path) or b""
        return read_manifest(sealed, run_id=run_id, path=str(path))

    def published(self) -> list[VersionManifest]:
        """The manifests of all versions that have an intact one, oldest first."""
        return oldest_first(self.run_ids(), self.manifest)

    def files(self, run_id: str) -> dict[str, int]:
        """Names and sizes in bytes of everything in a published version, the manifest included."""
        try:
            with os.scandir(self._version(run_id)) as entries:
                return {entry.name: entry.stat().st_size for entry in entries}
        except FileNotFoundError:
            return {}

    def part(self, run_id: str, name: str) -> str:
        """Path of a part of a version."""
        return str(self._version(run_id) / name)

    def intact(self, run_id: str, part: PartReport) -> bool:
        """Whether a published part has the bytes that were sealed."""
        return intact(self._version(run_id) / part.name, part)

    def profile(self, run_id: str) -> bytes | None:
        """What a version keeps in `RUN_PROFILE`, whatever its bytes; None if it is not there."""
        return storage.read_file(self._version(run_id) / RUN_PROFILE)

    def drift_files(self) -> list[str]:
        """Names of what was noted of drift, sorted."""
        folder = self.root / DRIFT
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return sorted(name for name in names if not name.endswith(".tmp"))

    def read_drift(self, name: str) -> bytes | None:
        """What was noted under `name`; None if it is not there."""
        return storage.read_file(self.root / DRIFT / name)

    def write_drift(self, name: str, data: bytes | None) -> None:
        """Note `data` under `name` in the place of what was there; nothing is left of None."""
        path = self.root / DRIFT / name
        if data is None:
            path.unlink(missing_ok=True)
            return
        storage.make_folder(path.parent)
        storage.write_file(path, data)

    def stage(self, run_id: str) -> DiskStage:
        """The work in progress of `run_id`, continued where a killed run left it."""
        stage = DiskStage(self.root, run_id)
        for folder in (stage.folder, stage.notes):
            folder.mkdir(parents=True, exist_ok=True)
        storage.make_folder(self.root / "versions")
        # Found out now, and not after the work.
        for folder in (self.root, self.root / "versions", stage.folder, stage.notes):
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PublishError(f"cannot write to {folder}: no permission; nothing was computed")
        for leftover in [*stage.folder.glob("*.tmp"), *stage.notes.glob("*.tmp")]:
            leftover.unlink()
        return stage

    def commit(
        self, stage: Stage, manifest: VersionManifest, *, profile: bytes | None = None
    ) -> None:
        """Seal the staged parts with their manifest: the rename of their folder commits.

        Raises:
            PublishError: if a part is not there as its report says.
        """
        folder, versions = self.root / "_stage" / manifest.run_id, self.root / "versions"
        parts = {part.name for part in manifest.files}
        with os.scandir(folder) as entries:
            waiting = {entry.name: entry.stat().st_size for entry in entries}
        if wrong := not_whole(waiting, manifest):
            raise PublishError(
                f"{len(wrong)} parts in {folder} must be as they were written, found them missing "
                f"or cut: {', '.join(wrong[:3])}; run again, and see who writes there"
            )
        for name in waiting.keys() - parts:
            (folder / name).unlink()
        # Gathered here and not part by part: a run that dies before is resumed from hashes only.
        storage.sync_files(folder / part.name for part in manifest.files)
        if profile is not None:
            storage.write_file(folder / RUN_PROFILE, profile)
        storage.write_file(folder / MANIFEST, seal_manifest(manifest))
        folder.rename(self._version(manifest.run_id))
        storage.sync_folder(versions)
        storage.sync_folder(folder.parent)

    def point(self, pointer: Pointer) -> None:
        """Let readers see another version: a rename of the link."""
        # A killed run may have renamed the version and not synced its name.
        storage.sync_folder(self.root / "versions")
        self._pointer.move(pointer)

    def sweep(self) -> list[str]:
        """Drop all work in progress and what killed runs left behind; with the lock held."""
        dropped = []
        folders = list((self.root / "_stage").glob("*"))
        if any(folder.name.endswith(_REMOVED) for folder in folders):
            self._sync_names()
        for folder in folders:
            shutil.rmtree(folder)
            dropped.append(f"_stage/{folder.name}")
        for leftover in self.root.glob("*.tmp"):
            if leftover.name.startswith(_NAMES):
                leftover.unlink()
                dropped.append(leftover.name)
        for leftover in (self.root / DRIFT).glob("*.tmp"):
            # Nobody who writes there holds the lock.
            if time.time() - leftover.stat().st_mtime > _GIVEN_UP:
                leftover.unlink(missing_ok=True)
                dropped.append(f"{DRIFT}/{leftover.name}")
        return sorted(dropped)

    def remove(self, run_id: str) -> None:
        """Delete a version, so that none ever shows half of it; with the lock held."""
        doomed = self.root / "_stage" / f"{run_id}.{uuid.uuid4().hex}{_REMOVED}"
        doomed.parent.mkdir(exist_ok=True)
        self._version(run_id).rename(doomed)
        self._sync_names()
        shutil.rmtree(doomed)

    def _sync_names(self) -> None:
        """Or a power cut could bring a version back with files missing."""
        storage.sync_folder(self.root / "versions")
        storage.sync_folder(self.root / "_stage")

    @property
    def _pointer(self) -> DiskPointer:
        return DiskPointer(self.root)

    def _version(self, run_id: str) -> Path:
        return self.root / "versions" / run_id
