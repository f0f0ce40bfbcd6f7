"""A registry of models in an object store.

::

    MODELS/versions/<id>/encoder.onnx …         created once
    MODELS/versions/<id>/manifest.json          created last, and once: this makes it a version
    MODELS/production/pointers/000042.json      created once; the highest number is where it leads
    MODELS/lineage/<id>.json                    which table, which code, which run
    MODELS/_models.json                         marks the prefix as ours, with the format

There is no lock: whatever must be decided once is an object that the store creates for one writer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline import aliases, marks, objects, scratch
from pipeline.bundle import MANIFEST, REPORT, Bundle
from pipeline.errors import BundleError, PublishError, StoreError
from pipeline.lineage import Lineage
from pipeline.locations import ALIASES, S3Location, is_run_id
from pipeline.manifest import Manifest, parse
from pipeline.marks import mark_of
from pipeline.publishing import Move, Pointer
from pipeline.registry import FORMAT, MARK, claim, is_as, left_by_aliases, require_mark
from pipeline.s3_bundle import upload
from pipeline.s3_pointers import S3Pointers
from pipeline.stored_bundle import drop_old

# What is unfinished may be an upload from another machine; after this time it was given up.
_GIVEN_UP = timedelta(hours=24)


@dataclass(frozen=True)
class S3Registry:
    """A prefix that holds versions of a model."""

    root: S3Location

    @classmethod
    def open(cls, root: S3Location, *, create: bool = False) -> S3Registry:
        """The registry at `root`; `create` makes it where there is nothing yet.

        Raises:
            BundleError: if it is not ours, or of a newer format.
            PublishError: if it cannot be written, or the store cannot create an object only once.
        """
        with _told():
            ours = (*ALIASES, "versions", "lineage")
            found = marks.in_store(root, MARK, mark_of(FORMAT), ours=ours, create=create)
            names = [] if found else objects.children(root)
        require_mark(found, names, path=str(root))
        return cls(root)

    @property
    def path(self) -> str:
        """The URL of the prefix."""
        return str(self.root)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nothing is held: whatever must be decided once, the store decides when it is created."""
        yield

    @contextmanager
    def claimed(self, version: str) -> Iterator[Path]:
        """A folder of this machine where `version` is trained before it is added; kept for a week.

        Raises:
            LockedError: if another run of this machine trains it.
        """
        name = hashlib.sha256(f"{self.path}/{version}".encode()).hexdigest()[:16]
        room = scratch.folder("models")
        with claim(room / f".{name}.lock", f"version {version} of {self.path}"):
            yield room / name
            drop_old(room / name)

    def has(self, version: str) -> bool:
        """Whether there is a bundle of that name; it may be damaged."""
        return is_run_id(version) and _made(self._version(version).join(MANIFEST)) is not None

    def versions(self) -> list[str]:
        """The names of all versions, oldest first."""
        with _told():
            names = objects.children(self.root.join("versions"))
            made = {name: _made(self._version(name).join(MANIFEST)) for name in names}
        found = [(time, name) for name, time in made.items() if time and is_run_id(name)]
        return [name for _, name in sorted(found)]

    def location(self, version: str) -> str:
        """URL of a version."""
        return str(self._version(version))

    def manifest(self, version: str) -> Manifest:
        """What a version says of itself; no other file of it is looked at."""
        with _told():
            content = _read(self._version(version).join(MANIFEST))
        return parse(content or b"", Path(self.location(version)))

    def lineage(self, version: str) -> Lineage | None:
        """Where a version came from; None if that was not recorded, or is damaged."""
        with _told():
            return Lineage.from_bytes(_read(self._lineage(version)), version)

    def attached(self, version: str, name: str) -> bytes | None:
        """A file of the version's report; None if there is none."""
        with _told():
            return _read(self._version(version).join(REPORT, name))

    def add(self, folder: Path, lineage: Lineage) -> None:
        """Make the bundle in `folder` the version that `lineage` names: its manifest comes last."""
        with _told():
            objects.create(self._lineage(lineage.version), lineage.to_bytes())
            if not self.has(lineage.version):
                upload(Bundle.open(folder), self._version(lineage.version))

    def alias(self, name: str) -> Pointer | None:
        """Where an alias leads, whether that is there or not; None before its first move."""
        with _told():
            return aliases.read(S3Pointers(self.root.join(name)))

    def history(self, name: str) -> list[Move]:
        """The moves of an alias, the newest first: it is where that one says."""
        with _told():
            pointers = S3Pointers(self.root.join(name))
            aliases.read(pointers)
            return pointers.history()

    def move(self, name: str, pointer: Pointer, *, expected: Pointer | None) -> bool:
        """Let an alias lead elsewhere, in one step; False if it is not as `expected` any more."""
        pointers = S3Pointers(self.root.join(name))
        with _told():
            now = aliases.read(pointers)
            if not is_as(now, expected):
                return False
            if not self.has(pointer.run_id):
                raise BundleError(f"{self.path} has no version {pointer.run_id} any more")
            if not pointers.follow(pointer):
                return False
            # It may have been deleted by another machine between the two.
            if not self.has(pointer.run_id):
                if now is not None:
                    pointers.follow(now)
                raise BundleError(
                    f"version {pointer.run_id} of {self.path} was deleted meanwhile; {name} leads "
                    "where it led before"
                )
        return True

    def left(self, version: str) -> datetime:
        """When an alias was last moved away from a version, or when that was registered; in UTC."""
        made = _made(self._version(version).join(MANIFEST)) or datetime.now(UTC)
        return max([made, *left_by_aliases(self, version)])

    def remove(self, version: str) -> bool:
        """Delete a version: its manifest first, and without it the rest is no version.

        Whoever moves an alias looks for the manifest afterwards, so that one of the two sees it.
        """
        manifest = self._version(version).join(MANIFEST)
        with _told():
            sealed = _read(manifest)
            objects.delete([manifest])
            if sealed is not None and version in self._named():
                objects.create(manifest, sealed)
                return False
            _drop(self._version(version))
            objects.delete([self._lineage(version)])
        return True

    def sweep(self) -> list[str]:
        """Delete uploads that were given up a day ago, and moves beyond the last hundred."""
        dropped = []
        with _told():
            for name in objects.children(self.root.join("versions")):
                if is_run_id(name) and not self.has(name) and _is_given_up(self._version(name)):
                    _drop(self._version(name))
                    dropped.append(f"versions/{name}")
            for name in ALIASES:
                S3Pointers(self.root.join(name)).forget()
        return dropped

    def _named(self) -> set[str]:
        pointers = map(self.alias, ALIASES)
        return {pointer.run_id for pointer in pointers if pointer is not None}

    def _version(self, version: str) -> S3Location:
        return self.root.join("versions", version)

    def _lineage(self, version: str) -> S3Location:
        return self.root.join("lineage", f"{version}.json")


@contextmanager
def _told() -> Iterator[None]:
    """Errors of the store become ours."""
    try:
        yield
    except (StoreError, PublishError, BundleError):
        raise
    except OSError as error:
        raise PublishError(str(error)) from None


def _made(location: S3Location) -> datetime | None:
    try:
        return objects.head(location).modified or datetime.now(UTC)
    except FileNotFoundError:
        return None


def _read(location: S3Location) -> bytes | None:
    try:
        return objects.read(location)
    except FileNotFoundError:
        return None


def _drop(place: S3Location) -> None:
    objects.delete([facts.location for facts in objects.listed(place)])


def _is_given_up(place: S3Location) -> bool:
    times = [facts.modified for facts in objects.listed(place) if facts.modified]
    return datetime.now(UTC) - max(times, default=datetime.now(UTC)) > _GIVEN_UP
