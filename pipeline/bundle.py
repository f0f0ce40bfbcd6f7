"""A bundle: one folder with a trained model, sealed by hashes, in open formats only.

Opening a bundle checks the hashes in its manifest before anything is loaded. A hash proves that
nothing changed, not that the author meant well: models are audited too (:mod:`pipeline.audit`).
``report/`` is added after sealing and is not hashed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from pipeline.aliases import follow
from pipeline.audit import audit
from pipeline.errors import BundleError, PublishError
from pipeline.locations import S3Location, locate
from pipeline.manifest import (
    FORMAT,
    LARGEST_FILE,
    LARGEST_MANIFEST,
    MANIFEST,
    FileRecord,
    Manifest,
    parse,
    seal,
)
from pipeline.replacing import replacing
from pipeline.signatures import signature
from pipeline.storage import write_file
from pipeline.stored_bundle import fetch

__all__ = ["FORMAT", "MANIFEST", "REPORT", "Bundle", "FileRecord", "Manifest", "replaceable"]

REPORT = "report"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were checked when it was opened."""

    path: Path
    manifest: Manifest
    fingerprint: str

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Check every hash of the bundle at `path`, or where that alias leads, then return it.

        Raises:
            BundleError: if it is missing, damaged, or of a newer format.
            StoreError: if it lies in a store that does not answer.
        """
        location = follow(locate(path))
        folder = fetch(location) if isinstance(location, S3Location) else location
        if not _present(folder / MANIFEST):
            raise BundleError(
                f"{folder} must be a bundle, found no {MANIFEST} in it; train one with "
                f"`parquet2vec train`"
            )
        with _opened(folder, MANIFEST) as file:
            sealed = file.read(LARGEST_MANIFEST + 1)
        manifest = parse(sealed, folder)
        for name, record in manifest.files.items():
            with _opened(folder, name) as file:
                _check_size(file, folder / name, record)
                if hashlib.file_digest(file, "sha256").hexdigest() != record.sha256:
                    raise _damaged(folder / name)
        return cls(folder, manifest, hashlib.sha256(sealed).hexdigest())

    def read(self, name: str) -> bytes:
        """The bytes of a sealed file, hashed again as they are: what was checked is what comes.

        Raises:
            BundleError: if the file is not in the bundle or changed since it was opened.
        """
        record = self.manifest.files.get(name)
        if record is None:
            raise BundleError(f"{self.path} has no {name}")
        with _opened(self.path, name) as file:
            _check_size(file, self.path / name, record)
            data = file.read(record.bytes + 1)
        if hashlib.sha256(data).hexdigest() != record.sha256:
            raise _damaged(self.path / name)
        return data

    def model(self, name: str) -> bytes:
        """The bytes of a sealed ONNX file, audited: the only ones that may become a session.

        Raises:
            BundleError: if the file is not in the bundle, changed since it was opened, or holds
                anything but a model of this manifest's schema and dimension.
        """
        content = self.read(name)
        required = signature(name, self.manifest.feature_schema, dim=self.manifest.dim)
        audit(content, required, where=str(self.path / name))
        return content

    def audit(self) -> None:
        """Audit every model.

        Raises:
            BundleError: as `model` does.
        """
        for name in self.manifest.files:
            if name.endswith(".onnx"):
                self.model(name)

    def has(self, name: str) -> bool:
        """Whether the file `name` is part of the bundle."""
        return name in self.manifest.files

    @classmethod
    def write(cls, path: str | Path, *, manifest: Manifest, files: dict[str, bytes]) -> Bundle:
        """Write a bundle with `files` as a whole, or leave `path` as it was.

        A bundle that is already there is replaced; any other folder that is not empty is refused.

        Raises:
            PublishError: if the folder cannot be written, or holds something else.
        """
        folder = Path(path)
        if large := [name for name, data in files.items() if len(data) > LARGEST_FILE]:
            raise PublishError(
                f"{large[0]} must have at most {LARGEST_FILE} bytes; use fewer columns"
            )
        records = {
            name: FileRecord(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
            for name, data in sorted(files.items())
        }
        sealed = seal(manifest, records)
        try:
            if not replaceable(folder):
                raise PublishError(f"{folder} is not empty and is no bundle; choose another folder")
            with replacing(folder) as stage:
                for name, data in files.items():
                    write_file(stage / name, data)
                write_file(stage / MANIFEST, sealed)
        except OSError as error:
            raise PublishError(f"cannot write the bundle {folder}: {error.strerror}") from None
        return cls.open(folder)


def replaceable(folder: Path) -> bool:
    """Whether a bundle may be written to `folder`: it is empty, absent, or a bundle itself."""
    if not folder.exists():
        return True
    return folder.is_dir() and (not any(folder.iterdir()) or (folder / MANIFEST).is_file())


def _present(path: Path) -> bool:
    """Whether something is there; what may not be looked at is, and is refused when it is read."""
    try:
        return path.exists()
    except OSError:
        return True


@contextmanager
def _opened(folder: Path, name: str) -> Iterator[BufferedReader]:
    """A file of a bundle, open for reading: a regular one that lies in the bundle itself."""
    try:
        with _regular(folder, name) as file:
            yield file
    except OSError as error:
        raise _unreadable(folder / name, error.strerror) from None


def _regular(folder: Path, name: str) -> BufferedReader:
    path = folder / name
    try:
        target = path.resolve(strict=True)
        if not target.is_relative_to(folder.resolve()):
            raise BundleError(f"{path} must lie in the bundle, found a link out of it; copy it")
        # A pipe would otherwise block for ever.
        descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        file = os.fdopen(descriptor, "rb")
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "its links lead in a circle"
        raise _unreadable(path, reason) from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise BundleError(f"{path} must be a file, found something else; copy the bundle again")
    return file


def _check_size(file: BufferedReader, path: Path, record: FileRecord) -> None:
    if os.fstat(file.fileno()).st_size != record.bytes:
        raise _damaged(path)


def _unreadable(path: Path, reason: str | None) -> BundleError:
    return BundleError(f"{path} cannot be read: {reason or 'input/output error'}; copy it again")


def _damaged(path: Path) -> BundleError:
    return BundleError(
        f"{path} is damaged: its bytes are not those that were sealed; copy the bundle again"
    )
