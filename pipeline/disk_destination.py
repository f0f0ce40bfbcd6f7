"""A destination on local disk.

::

    DEST/current -> versions/<run_id>     what readers open; swapped by one rename
    DEST/versions/<run_id>/part-….parquet immutable; _manifest.json beside them
    DEST/_stage/<run_id>/…                work in progress; survives a kill and is resumed
    DEST/_lock                            held while a run writes; dropped when its process dies
    DEST/_pinned                          there while the pointer is pinned
    DEST/_parquet2vec.json                marks the folder as ours, with the format
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pipeline import storage
from pipeline.errors import DestinationError, PublishError
from pipeline.publishing import FORMAT, MANIFEST, PartReport, Pointer, Stage, VersionManifest

_MARK = "_parquet2vec.json"
_PINNED = "_pinned"


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
            if create:
                root.mkdir(parents=True, exist_ok=True)
                _mark(root)
        except FileExistsError:
            raise DestinationError(f"{root} must be a folder, found a file") from None
        except OSError as error:
            raise PublishError(f"cannot write to {root}: {error.strerror}") from None
        _require_ours(root)
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
        """Where `current` leads, or None before the first version."""
        run_id = storage.pointed(self.root / "current")
        return Pointer(run_id=run_id, pinned=self._pin.exists()) if run_id else None

    def has(self, run_id: str) -> bool:
        """Whether the version `run_id` is published."""
        return self._version(run_id).exists()

    def manifest(self, run_id: str) -> VersionManifest:
        """The manifest of a published version.

        Raises:
            DestinationError: if there is no such version, or its manifest is damaged.
        """
        path = self._version(run_id) / MANIFEST
        try:
            return VersionManifest.model_validate_json(path.read_bytes())
        except OSError:
            raise DestinationError(f"{self.root} has no version {run_id}") from None
        except ValidationError:
            raise DestinationError(f"{path} is damaged; publish again") from None

    def published(self) -> list[VersionManifest]:
        """The manifests of all published versions, oldest first."""
        folder = self.root / "versions"
        folders = folder.iterdir() if folder.is_dir() else []
        found = [self.manifest(version.name) for version in folders]
        return sorted(found, key=lambda manifest: (manifest.published, manifest.run_id))

    def part(self, run_id: str, name: str) -> str:
        """Path of a part of a version."""
        return str(self._version(run_id) / name)

    def intact(self, run_id: str, part: PartReport) -> bool:
        """Whether a published part has the bytes that were sealed."""
        return _intact(self._version(run_id) / part.name, part)

    def stage(self, run_id: str) -> DiskStage:
        """The work in progress of `run_id`, continued where a killed run left it."""
        folder = self.root / "_stage" / run_id
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob("*.tmp"):
            leftover.unlink()
        return DiskStage(self.root, run_id)

    def commit(self, stage: Stage, manifest: VersionManifest) -> None:
        """Seal the staged parts with their manifest: the rename of their folder commits."""
        folder = self.root / "_stage" / manifest.run_id
        parts = {part.name for part in manifest.files}
        for entry in folder.iterdir():
            if entry.name not in parts:
                entry.unlink()
        # Gathered here and not part by part: a run that dies before is resumed from hashes only.
        storage.sync_files(folder / part.name for part in manifest.files)
        storage.write_file(folder / MANIFEST, manifest.model_dump_json(indent=1).encode())
        (self.root / "versions").mkdir(exist_ok=True)
        folder.rename(self._version(manifest.run_id))
        storage.sync_folder(self.root / "versions")

    def point(self, pointer: Pointer) -> None:
        """Let readers see another version: a rename of the link."""
        # The pin comes first, so that no run moves what a rollback is about to move.
        if pointer.pinned:
            storage.write_file(self._pin, b"")
        if storage.pointed(self.root / "current") != pointer.run_id:
            storage.point(self.root / "current", f"versions/{pointer.run_id}")
        if not pointer.pinned:
            self._pin.unlink(missing_ok=True)

    def clear_stages(self) -> None:
        """Drop all work in progress; call it with the lock held."""
        for folder in (self.root / "_stage").glob("*"):
            shutil.rmtree(folder)

    def remove(self, run_id: str) -> None:
        """Delete a version; call it with the lock held, and never with the current one."""
        shutil.rmtree(self._version(run_id))

    @property
    def _pin(self) -> Path:
        return self.root / _PINNED

    def _version(self, run_id: str) -> Path:
        return self.root / "versions" / run_id


@dataclass(frozen=True)
class DiskStage:
    """The parts of one run in the folder where they wait."""

    root: Path
    run_id: str

    @property
    def folder(self) -> Path:
        """Where the parts wait."""
        return self.root / "_stage" / self.run_id

    def scratch(self, name: str) -> Path:
        """A new file name beside the finished parts."""
        return self.folder / f"{name}.{uuid.uuid4().hex}.tmp"

    def finish(self, scratch: Path, report: PartReport) -> PartReport:
        """Rename `scratch` to the part's name, and note that it is finished."""
        scratch.rename(self.folder / report.name)
        return self._record(report)

    def finished(self, name: str, work: str) -> PartReport | None:
        """The part `name` if an earlier run made it by the same `work` and its hash confirms."""
        try:
            report = PartReport.model_validate_json(self._sidecar(name).read_bytes())
        except (OSError, ValidationError):
            return None
        same = report.work == work and report.name == name
        return report if same and _intact(self.folder / name, report) else None

    def reuse(self, report: PartReport, *, name: str, run_id: str) -> PartReport | None:
        """Take over a part of an older version by a hard link; None if it is not intact."""
        part = self.folder / name
        try:
            part.unlink(missing_ok=True)
            os.link(self.root / "versions" / run_id / report.name, part)
        except OSError:
            return None
        intact = _intact(part, report)
        return self._record(report.model_copy(update={"name": name})) if intact else None

    def _record(self, report: PartReport) -> PartReport:
        sidecar = report.model_dump_json().encode()
        storage.write_file(self._sidecar(report.name), sidecar, durable=False)
        return report

    def _sidecar(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def _intact(path: Path, part: PartReport) -> bool:
    try:
        return path.stat().st_size == part.bytes and storage.sha256_of(path) == part.sha256
    except OSError:
        return False


def _mark(root: Path) -> None:
    ours = (_MARK, _PINNED, "_lock", "_stage", "versions", "current")
    entries = {entry.name for entry in root.iterdir() if not entry.name.startswith(_MARK)}
    if not (root / _MARK).exists() and not entries - set(ours):
        storage.write_file(root / _MARK, json.dumps({"format": FORMAT}).encode())


def _require_ours(root: Path) -> None:
    if not root.exists():
        raise DestinationError(f"{root} does not exist; check the path")
    try:
        found = json.loads((root / _MARK).read_bytes())["format"]
    except (OSError, ValueError, KeyError, TypeError):
        raise DestinationError(
            f"{root} must be empty or a destination of parquet2vec, found neither; "
            "choose another folder"
        ) from None
    if found > FORMAT:
        raise DestinationError(
            f"{root} has format {found}, this version writes {FORMAT}; update parquet2vec"
        )
