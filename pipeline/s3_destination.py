"""A destination in an object store.

::

    DEST/versions/<run_id>/part-….parquet  created once, never replaced
    DEST/versions/<run_id>/_manifest.json  created once: this is the commit
    DEST/pointers/000042.json              created once; the highest number is what readers see
    DEST/_stage/<run_id>/…                 notes of finished parts
    DEST/_drift/<run_id>.json              what `monitor` found, and its picture
    DEST/_parquet2vec.json                 marks the prefix as ours, with the format

Everything that must be decided once is an object that the store creates for one writer only. There
is no lock that a killed run could leave behind: two runs of the same work end with one version, of
two different ones each publishes its own and the pointer leads to one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pipeline import marks, objects
from pipeline.errors import DestinationError, PublishError, StoreError
from pipeline.locations import S3Location, is_run_id
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
    not_whole,
    oldest_first,
    read_manifest,
    require_mark,
    seal_manifest,
)
from pipeline.s3_pointers import S3Pointers
from pipeline.s3_stage import S3Stage

_NAMES = {MARK, "versions", "pointers", "_stage", DRIFT}
# What is unfinished may belong to a run on another machine; after this time it was given up.
_GIVEN_UP = timedelta(hours=24)


@dataclass(frozen=True)
class S3Destination:
    """A prefix that holds versions of an embedding table."""

    root: S3Location
    pointers: S3Pointers

    @classmethod
    def open(cls, root: S3Location, *, create: bool = False) -> S3Destination:
        """The destination at `root`; `create` makes it where there is nothing yet.

        Raises:
            DestinationError: if it is not ours, or of a newer format.
            PublishError: if it cannot be written, or the store cannot create an object only once.
        """
        try:
            found = marks.in_store(root, MARK, mark_of(FORMAT), ours=_NAMES, create=create)
        except StoreError:
            raise
        except OSError as error:
            raise PublishError(str(error)) from None
        if found is None and not create and not objects.children(root):
            raise DestinationError(f"{root} does not exist; check the bucket and the key")
        require_mark(found, path=str(root))
        return cls(root, S3Pointers(root))

    @property
    def path(self) -> str:
        """The URL of the prefix."""
        return str(self.root)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nothing is held: whatever must be decided once, the store decides when it is created."""
        yield

    @property
    def pointer(self) -> Pointer | None:
        """Where the highest pointer leads; None before the first version, or if it is gone."""
        pointer = self.pointers.current()
        if pointer is None or not self.has(pointer.run_id):
            return None
        return Pointer(run_id=pointer.run_id, pinned=pointer.pinned)

    def history(self) -> list[Move]:
        """The moves of the pointer that are kept, the newest first."""
        return self.pointers.history()

    def superseded(self, run_id: str) -> datetime:
        """When readers were last given a version that is not the current one, or later; in UTC."""
        return self.pointers.left(run_id)

    def has(self, run_id: str) -> bool:
        """Whether the version `run_id` is published; it may be damaged."""
        try:
            objects.head(self._version(run_id).join(MANIFEST))
        except FileNotFoundError:
            return False
        return True

    def run_ids(self) -> list[str]:
        """The names of all published versions, sorted; also of those that are damaged."""
        return [name for name in self._begun() if self.has(name)]

    def manifest(self, run_id: str) -> VersionManifest:
        """The manifest of a published version.

        Raises:
            DestinationError: if there is no such version, or its manifest is damaged.
        """
        location = self._version(run_id).join(MANIFEST)
        sealed = _read(location)
        if sealed is None:
            raise DestinationError(
                f"{self.root} has no version {run_id}; `parquet2vec inspect {self.root}` lists them"
            )
        return read_manifest(sealed, run_id=run_id, path=str(location))

    def published(self) -> list[VersionManifest]:
        """The manifests of all versions that have an intact one, oldest first."""
        return oldest_first(self._begun(), self.manifest)

    def files(self, run_id: str) -> dict[str, int]:
        """Names and sizes in bytes of everything in a published version, the manifest included."""
        try:
            return self._sizes(self.manifest(run_id))
        except DestinationError:
            return self._listed(run_id)

    def part(self, run_id: str, name: str) -> str:
        """URL of a part of a version."""
        return str(self._version(run_id).join(name))

    def intact(self, run_id: str, part: PartReport) -> bool:
        """Whether a published part has the bytes that were sealed: it is fetched and hashed."""
        try:
            facts = objects.head(self._version(run_id).join(part.name))
            return facts.bytes == part.bytes and objects.sha256_of(facts) == part.sha256
        except FileNotFoundError:
            return False

    def profile(self, run_id: str) -> bytes | None:
        """What a version keeps in `RUN_PROFILE`, whatever its bytes; None if it is not there."""
        return _read(self._version(run_id).join(RUN_PROFILE))

    def drift_files(self) -> list[str]:
        """Names of what was noted of drift, sorted."""
        return objects.children(self.root.join(DRIFT))

    def read_drift(self, name: str) -> bytes | None:
        """What was noted under `name`; None if it is not there."""
        return _read(self.root.join(DRIFT, name))

    def write_drift(self, name: str, data: bytes | None) -> None:
        """Note `data` under `name` in the place of what was there; nothing is left of None."""
        if data is None:
            objects.delete([self.root.join(DRIFT, name)])
        else:
            objects.write(self.root.join(DRIFT, name), data)

    def stage(self, run_id: str) -> S3Stage:
        """The work in progress of `run_id`, continued where a killed run left it."""
        if self.has(run_id) and self._damage(run_id):
            # What is published cannot be read: it becomes work in progress again.
            objects.delete([self._version(run_id).join(MANIFEST)])
        return S3Stage(self.root, run_id)

    def commit(
        self, stage: Stage, manifest: VersionManifest, *, profile: bytes | None = None
    ) -> None:
        """Create the manifest of parts that are there: of all who try, one succeeds.

        Another run that did the same work with the same parts is no error.

        Raises:
            PublishError: if a part is not there as its report says, or the version has other parts.
        """
        version = self._version(manifest.run_id)
        self._require_whole(manifest)
        if profile is not None:
            self._put_profile(manifest.run_id, profile)
        if not objects.create(version.join(MANIFEST), seal_manifest(manifest)):
            if _parts(self.manifest(manifest.run_id)) != _parts(manifest):
                raise PublishError(
                    f"{version} was published meanwhile with other parts by another run of the "
                    "same work; run again to take it as it is"
                )
            return
        names = [MANIFEST, *(part.name for part in manifest.files)]
        ours = {version.join(name) for name in [*names, *([RUN_PROFILE] if profile else [])]}
        found = {facts.location for facts in objects.listed(version)}
        # Left by a run of other code, which cut the same work into other parts.
        objects.delete(found - ours)
        try:
            self._require_whole(manifest)
        except PublishError:
            # Another run was deleting this very version: what it deletes is no version.
            objects.delete([version.join(MANIFEST)])
            raise
        if profile is not None and self.profile(manifest.run_id) != profile:
            # Replaced or deleted by another run that did not see the manifest come.
            objects.write(version.join(RUN_PROFILE), profile)

    def point(self, pointer: Pointer) -> None:
        """Create the pointer after the one that was seen last.

        If another writer was faster: a pin stays unless this is one, too, and of two versions the
        one that was published later is what readers see.
        """
        while not self.pointers.follow(pointer):
            faster = self.pointers.current()
            if faster is not None and faster != pointer and self._stays(faster, pointer):
                return

    def sweep(self) -> list[str]:
        """Drop notes of what is published, and what was given up a day ago; nobody is locked out.

        Returns the names of what was dropped.
        """
        published = {name: self.has(name) for name in self._unfinished()}
        dropped = []
        for run_id, is_published in published.items():
            if is_published:
                dropped += self._drop(self.root.join("_stage", run_id))
            elif self._is_given_up(run_id):
                dropped += self._drop(self._version(run_id))
                dropped += self._drop(self.root.join("_stage", run_id))
        self.pointers.forget()
        return sorted(dropped)

    def remove(self, run_id: str) -> None:
        """Delete a version: its manifest first, and without it the rest is no version."""
        objects.delete([self._version(run_id).join(MANIFEST)])
        self._drop(self._version(run_id))

    def _put_profile(self, run_id: str, profile: bytes) -> None:
        """Create the profile; one that another run has left before its commit gives way."""
        location = self._version(run_id).join(RUN_PROFILE)
        if objects.create(location, profile) or self.has(run_id):
            return
        found = _read(location)
        if found == profile:
            return
        objects.write(location, profile)
        if found is not None and self.has(run_id):
            # Another run has published meanwhile, and its manifest seals what it had put there.
            objects.write(location, found)

    def _listed(self, run_id: str) -> dict[str, int]:
        version = self._version(run_id)
        skipped = len(version.key) + 1
        return {facts.location.key[skipped:]: facts.bytes for facts in objects.listed(version)}

    def _sizes(self, manifest: VersionManifest) -> dict[str, int]:
        """Names and sizes; a listing may lag behind, the objects themselves do not."""
        sizes = self._listed(manifest.run_id)
        for name in not_whole(sizes, manifest):
            try:
                sizes[name] = objects.head(self._version(manifest.run_id).join(name)).bytes
            except FileNotFoundError:
                continue
        return sizes

    def _require_whole(self, manifest: VersionManifest) -> None:
        sizes = self._sizes(manifest)
        if wrong := not_whole(sizes, manifest):
            raise PublishError(
                f"{len(wrong)} parts in {self._version(manifest.run_id)} must be as they were "
                f"written, found them missing or cut: {', '.join(wrong[:3])}; run again, and see "
                "who writes there"
            )

    def _damage(self, run_id: str) -> bool:
        try:
            self._require_whole(self.manifest(run_id))
        except PublishError:
            return True
        return False

    def _stays(self, faster: Pointer, pointer: Pointer) -> bool:
        if faster.pinned or pointer.pinned:
            return not pointer.pinned
        try:
            return self.manifest(faster.run_id).published > self.manifest(pointer.run_id).published
        except DestinationError:
            return False

    def _unfinished(self) -> list[str]:
        noted = _run_ids(objects.children(self.root.join("_stage")))
        return sorted({*noted, *(run_id for run_id in self._begun() if not self.has(run_id))})

    def _begun(self) -> list[str]:
        return _run_ids(objects.children(self.root.join("versions")))

    def _is_given_up(self, run_id: str) -> bool:
        places = (self._version(run_id), self.root.join("_stage", run_id))
        times = [facts.modified for place in places for facts in objects.listed(place)]
        newest = max((time for time in times if time), default=datetime.now(UTC))
        return datetime.now(UTC) - newest > _GIVEN_UP and not self.has(run_id)

    def _drop(self, place: S3Location) -> list[str]:
        found = [facts.location for facts in objects.listed(place)]
        objects.delete(found)
        return [location.key.removeprefix(self.root.key).lstrip("/") for location in found]

    def _version(self, run_id: str) -> S3Location:
        return self.root.join("versions", run_id)


def _read(location: S3Location) -> bytes | None:
    try:
        return objects.read(location)
    except FileNotFoundError:
        return None


def _run_ids(names: Iterable[str]) -> list[str]:
    return [name for name in names if is_run_id(name)]


def _parts(manifest: VersionManifest) -> set[tuple[str, int, str, str]]:
    return {(part.name, part.rows, part.sha256, part.work) for part in manifest.files}
