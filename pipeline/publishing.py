"""Publishing: readers see one complete run of one model, always.

::

    DEST/current -> versions/<run_id>     what readers open; swapped by one rename
    DEST/versions/<run_id>/part-….parquet immutable; _manifest.json beside them
    DEST/_stage/<run_id>/…                work in progress; survives a kill and is resumed
    DEST/_lock                            held while a run writes; dropped when its process dies
    DEST/_parquet2vec.json                marks the folder as ours, with the format
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline import storage
from pipeline.config import Config
from pipeline.errors import DestinationError, PublishError

# Raise it when an older reader would misread a newer destination.
FORMAT = 1
MANIFEST = "_manifest.json"
_MARK = "_parquet2vec.json"


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


@dataclass(frozen=True)
class Destination:
    """A folder that holds versions of an embedding table."""

    root: Path

    @classmethod
    def open(cls, path: str | Path, *, create: bool = False) -> Destination:
        """The destination at `path`; `create` makes it where there is nothing yet.

        Raises:
            DestinationError: if it is not ours, or of a newer format.
            PublishError: if it cannot be written.
        """
        root = Path(path)
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

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the destination alone.

        Raises:
            LockedError: if another run holds it.
        """
        with storage.lock(self.root / "_lock"):
            yield

    def version(self, run_id: str) -> Path:
        """Where the version `run_id` is, or will be."""
        return self.root / "versions" / run_id

    @property
    def current(self) -> str | None:
        """Run id of the version that readers see, or None before the first."""
        return storage.pointed(self.root / "current")

    def manifest(self, run_id: str) -> VersionManifest:
        """The manifest of a published version.

        Raises:
            DestinationError: if there is no such version, or its manifest is damaged.
        """
        path = self.version(run_id) / MANIFEST
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

    def stage(self, run_id: str) -> Stage:
        """The work in progress of `run_id`, continued where a killed run left it."""
        folder = self.root / "_stage" / run_id
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob("*.tmp"):
            leftover.unlink()
        return Stage(folder)

    def commit(self, stage: Stage, manifest: VersionManifest) -> None:
        """Seal `stage` with its manifest and make it a version: the one rename that commits."""
        parts = {part.name for part in manifest.files}
        for entry in stage.folder.iterdir():
            if entry.name not in parts:
                entry.unlink()
        # Gathered here and not part by part: a run that dies before is resumed from hashes only.
        storage.sync_files(stage.folder / part.name for part in manifest.files)
        storage.write_file(stage.folder / MANIFEST, manifest.model_dump_json(indent=1).encode())
        (self.root / "versions").mkdir(exist_ok=True)
        stage.folder.rename(self.version(manifest.run_id))
        storage.sync_folder(self.root / "versions")

    def point(self, run_id: str) -> None:
        """Let readers see the version `run_id`."""
        if self.current != run_id:
            storage.point(self.root / "current", f"versions/{run_id}")

    def clear_stages(self) -> None:
        """Drop all work in progress; call it with the lock held."""
        for folder in (self.root / "_stage").glob("*"):
            shutil.rmtree(folder)


@dataclass(frozen=True)
class Stage:
    """The parts of one run that are not published yet."""

    folder: Path

    def finished(self, name: str, work: str) -> PartReport | None:
        """The part `name` if an earlier run made it by the same `work` and its hash confirms."""
        try:
            report = PartReport.model_validate_json(self._sidecar(name).read_bytes())
            intact = storage.sha256_of(self.folder / name) == report.sha256
        except (OSError, ValidationError):
            return None
        return report if intact and report.work == work else None

    def reuse(self, report: PartReport, *, name: str, published: Path) -> PartReport | None:
        """Take over a part of an older version by a hard link; None if it is not intact."""
        part = self.folder / name
        try:
            part.unlink(missing_ok=True)
            os.link(published / report.name, part)
            intact = storage.sha256_of(part) == report.sha256
        except OSError:
            return None
        return self.record(report.model_copy(update={"name": name})) if intact else None

    def record(self, report: PartReport) -> PartReport:
        """Note that the part of `report`, already in the folder, is finished."""
        sidecar = report.model_dump_json().encode()
        storage.write_file(self._sidecar(report.name), sidecar, durable=False)
        return report

    def _sidecar(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def _mark(root: Path) -> None:
    ours = (_MARK, "_lock", "_stage", "versions", "current")
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
