"""A registry of models on local disk.

::

    MODELS/production -> versions/<id>    swapped by one rename; so is candidate
    MODELS/_moves/production.json         its moves; written before the link moves
    MODELS/_lock                          held while an alias moves or a version is deleted
    MODELS/_models.json                   marks the folder as ours, with the format
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline import marks, storage
from pipeline.bundle import MANIFEST, REPORT, Bundle
from pipeline.disk_link import DiskLink
from pipeline.errors import BundleError, LockedError, PublishError
from pipeline.lineage import Lineage
from pipeline.locations import ALIASES, is_run_id
from pipeline.manifest import Manifest, parse
from pipeline.marks import mark_of
from pipeline.publishing import Move, Pointer
from pipeline.registry import FORMAT, MARK, claim, is_as, left_by_aliases, require_mark
from pipeline.replacing import replacing

_NAMES = {*ALIASES, "versions", "lineage", "_moves", "_lock", "_removed"}
# A training that was killed goes on where it stopped; after this time nobody will ask for it.
_GIVEN_UP_SECONDS = 7 * 86_400
_PATIENCE_SECONDS = 30


@dataclass(frozen=True)
class DiskRegistry:
    """A folder that holds versions of a model."""

    root: Path

    @classmethod
    def open(cls, root: Path, *, create: bool = False) -> DiskRegistry:
        """The registry at `root`; `create` makes it where there is nothing yet.

        Raises:
            BundleError: if it is not ours, or of a newer format.
            PublishError: if it cannot be written.
        """
        try:
            found = marks.on_disk(root, MARK, mark_of(FORMAT), ours=_NAMES, create=create)
            names = [path.name for path in root.iterdir()] if root.is_dir() else []
        except FileExistsError:
            raise BundleError(f"{root} must be a folder, found a file") from None
        except OSError as error:
            raise PublishError(f"cannot use {root}: {error.strerror}") from None
        require_mark(found, names, path=str(root))
        return cls(root)

    @property
    def path(self) -> str:
        """The folder."""
        return str(self.root)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold aliases and versions alone.

        Raises:
            LockedError: if another process holds them.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        with ExitStack() as held:
            # Others hold it for moments only, and training may have taken hours.
            while True:
                try:
                    held.enter_context(storage.lock(self.root / "_lock"))
                    break
                except LockedError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
            yield

    @contextmanager
    def claimed(self, version: str) -> Iterator[Path]:
        """The folder of `version`, held alone while it is trained.

        Raises:
            LockedError: if another run trains it.
        """
        storage.make_folder(self.root / "versions")
        folder = self._version(version)
        with claim(folder.with_name(f".{version}.lock"), f"version {version} of {self.path}"):
            yield folder

    def has(self, version: str) -> bool:
        """Whether there is a bundle of that name; it may be damaged."""
        return is_run_id(version) and (self._version(version) / MANIFEST).exists()

    def versions(self) -> list[str]:
        """The names of all versions, oldest first."""
        folder = self.root / "versions"
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        return sorted(filter(self.has, names), key=lambda name: (self._made(name), name))

    def location(self, version: str) -> str:
        """Path of a version."""
        return str(self._version(version))

    def manifest(self, version: str) -> Manifest:
        """What a version says of itself; no other file of it is looked at."""
        folder = self._version(version)
        return parse(_read(folder / MANIFEST) or b"", folder)

    def lineage(self, version: str) -> Lineage | None:
        """Where a version came from; None if that was not recorded, or is damaged."""
        return Lineage.from_bytes(_read(self._lineage(version)), version)

    def attached(self, version: str, name: str) -> bytes | None:
        """A file of the version's report; None if there is none."""
        return _read(self._version(version) / REPORT / name)

    def add(self, folder: Path, lineage: Lineage) -> None:
        """Make the bundle in `folder` the version that `lineage` names, in one step."""
        target = self._version(lineage.version)
        try:
            if not self.has(lineage.version):
                _copy(Bundle.open(folder), target)
            if self.lineage(lineage.version) is None:
                storage.make_folder(self.root / "lineage")
                storage.write_file(self._lineage(lineage.version), lineage.to_bytes())
        except OSError as error:
            raise PublishError(f"cannot write to {self.root}: {error.strerror or error}") from None

    def alias(self, name: str) -> Pointer | None:
        """Where an alias leads, whether that is there or not; None before its first move."""
        history = self.history(name)
        return history[0].pointer if history else None

    def history(self, name: str) -> list[Move]:
        """The moves of an alias, the newest first: it is where that one says."""
        return self._link(name).history()

    def move(self, name: str, pointer: Pointer, *, expected: Pointer | None) -> bool:
        """Let an alias lead elsewhere, in one step; False if it is not as `expected` any more."""
        with self.locked():
            if not self.has(pointer.run_id):
                raise BundleError(f"{self.path} has no version {pointer.run_id} any more")
            if not is_as(self.alias(name), expected):
                return False
            link = self._link(name)
            try:
                storage.make_folder(self.root / "_moves")
                link.move(pointer)
            except OSError as error:
                raise PublishError(
                    f"cannot move {link.path}: {error.strerror or error}; it leads where it led "
                    "before"
                ) from None
        return True

    def left(self, version: str) -> datetime:
        """When an alias was last moved away from a version, or when that was registered; in UTC."""
        return max([self._made(version), *left_by_aliases(self, version)])

    def remove(self, version: str) -> bool:
        """Delete a version; whoever moves an alias waits for the lock."""
        doomed = self.root / "_removed" / f"{version}.{uuid.uuid4().hex}"
        storage.make_folder(doomed.parent)
        self._version(version).rename(doomed)
        # Or a power cut could bring a version back with files missing.
        storage.sync_folder(self.root / "versions")
        storage.sync_folder(doomed.parent)
        self._lineage(version).unlink(missing_ok=True)
        shutil.rmtree(doomed)
        return True

    def sweep(self) -> list[str]:
        """Delete what killed runs left behind long ago; with the lock held."""
        doomed = [*(self.root / "_removed").glob("*")]
        # Whoever moves an alias holds the lock; others may be at work at the rest.
        doomed += [path for name in ALIASES for path in self.root.glob(f"{name}.*.tmp")]
        doomed += (self.root / "_moves").glob("*.tmp")
        others = [*(self.root / "versions").glob(".*"), *(self.root / "lineage").glob("*.tmp")]
        others += self.root.glob(f"{MARK}.*.tmp")
        doomed += [path for path in others if _is_given_up(path)]
        for path in doomed:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        return sorted(str(path.relative_to(self.root)) for path in doomed)

    def _made(self, version: str) -> datetime:
        lineage = self.lineage(version)
        if lineage is not None:
            return lineage.at
        return datetime.fromtimestamp(self._version(version).stat().st_mtime, UTC)

    def _link(self, name: str) -> DiskLink:
        return DiskLink(self.root / name, notes=self.root / "_moves" / f"{name}.json")

    def _version(self, version: str) -> Path:
        return self.root / "versions" / version

    def _lineage(self, version: str) -> Path:
        return self.root / "lineage" / f"{version}.json"


def _copy(bundle: Bundle, target: Path) -> None:
    with replacing(target) as stage:
        for name in [*bundle.manifest.files, MANIFEST]:
            shutil.copyfile(bundle.path / name, stage / name)
        storage.sync_files(stage / name for name in [*bundle.manifest.files, MANIFEST])
        storage.sync_folder(stage)
        if (bundle.path / REPORT).is_dir():
            shutil.copytree(bundle.path / REPORT, stage / REPORT)
        if Bundle.open(stage).fingerprint != bundle.fingerprint:
            raise BundleError(f"{bundle.path} was replaced while it was copied; add it again")


def _is_given_up(path: Path) -> bool:
    times = [one.lstat().st_mtime for one in [path, *path.rglob("*")]]
    return time.time() - max(times) > _GIVEN_UP_SECONDS


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise PublishError(f"cannot read {path}: {error.strerror}") from None
