"""Bundles in an object store: fetched to this machine once, by the hash of their manifest."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from pathlib import Path

from pipeline import objects, scratch
from pipeline.errors import BundleError, StoreError
from pipeline.locations import S3Location
from pipeline.manifest import LARGEST_MANIFEST, MANIFEST, FileRecord, parse

_KEPT_SECONDS = 7 * 86_400


def fetch(location: S3Location) -> Path:
    """A local folder with the sealed files of the bundle at `location`.

    Raises:
        BundleError: if there is none, or a file is not the one that was sealed.
        StoreError: if the store does not answer.
    """
    try:
        sealed = _manifest(location)
        manifest = parse(sealed, Path(f"{location}"))
        folder = scratch.folder("bundles") / hashlib.sha256(sealed).hexdigest()
        folder.mkdir(exist_ok=True)
        for name, record in manifest.files.items():
            if not _is_there(folder / name, record):
                _fetch(location.join(name), folder / name, record)
        _put(folder / MANIFEST, sealed)
    except StoreError:
        raise
    except OSError as error:
        raise BundleError(f"{location} cannot be fetched: {error}") from None
    drop_old(folder)
    return folder


def _manifest(location: S3Location) -> bytes:
    try:
        facts = objects.head(location.join(MANIFEST))
    except FileNotFoundError:
        raise BundleError(
            f"{location} must be a bundle, found no {MANIFEST} in it; copy one there that "
            "`parquet2vec train` wrote"
        ) from None
    if facts.bytes > LARGEST_MANIFEST:
        raise BundleError(f"{facts.location} is larger than {LARGEST_MANIFEST} bytes; no bundle")
    return objects.read(facts.location)


def _is_there(path: Path, record: FileRecord) -> bool:
    if not path.is_file() or path.stat().st_size != record.bytes:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == record.sha256


def _fetch(location: S3Location, path: Path, record: FileRecord) -> None:
    facts = objects.head(location)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    digest = hashlib.sha256()
    try:
        if facts.bytes == record.bytes:
            with temporary.open("wb") as file:
                for data in objects.chunks(facts):
                    digest.update(data)
                    file.write(data)
        if digest.hexdigest() != record.sha256:
            raise BundleError(
                f"{location} is damaged: its bytes are not those that were sealed; copy the bundle "
                "again"
            )
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


def _put(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    temporary.write_bytes(data)
    temporary.rename(path)


def drop_old(used: Path) -> None:
    """Delete what was not used for a week in the folder that holds `used`."""
    if used.exists():
        os.utime(used)
    for folder in used.parent.iterdir():
        if time.time() - folder.stat().st_mtime > _KEPT_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
