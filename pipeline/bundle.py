"""A bundle: one folder with a trained model, sealed by hashes, in open formats only.

``manifest.json`` lists every file with its size and SHA-256; opening a bundle checks them all
before anything is loaded. ``report/`` is added after sealing and is not hashed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from pipeline.config import Config
from pipeline.errors import BundleError, PublishError
from pipeline.schema import FeatureSchema
from pipeline.storage import sha256_of, sync_folder, write_file

# Raise it when an older reader would misread a newer bundle, keep reading all older numbers, and
# add a bundle of the old number to the golden tests.
FORMAT = 1
MANIFEST = "manifest.json"
REPORT = "report"


class FileRecord(Config):
    """Size and hash of one sealed file."""

    bytes: int
    sha256: str


class Manifest(Config):
    """What a bundle says of itself.

    `widest_layer` counts the numbers per row in the widest layer of the encoder, from which the
    rows of one run are sized. `parity` holds the figures of the export gate.
    """

    format: int
    feature_schema: FeatureSchema
    dim: int
    recipe: str
    latent_names: tuple[str, ...]
    widest_layer: int
    training_data: dict[str, Any]
    split: dict[str, Any]
    versions: dict[str, str]
    parity: dict[str, Any]
    files: dict[str, FileRecord] = Field(default_factory=dict)


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were checked when it was opened."""

    path: Path
    manifest: Manifest
    fingerprint: str

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Check every hash of the bundle at `path`, then return it.

        Raises:
            BundleError: if it is missing, damaged, or of a newer format.
        """
        folder = Path(path)
        try:
            sealed = (folder / MANIFEST).read_bytes()
        except OSError:
            raise BundleError(
                f"{folder} must be a bundle, found no {MANIFEST} in it; train one with "
                f"`parquet2vec train`"
            ) from None
        manifest = _parse(sealed, folder)
        for name, record in manifest.files.items():
            _check_file(folder / name, record)
        return cls(folder, manifest, hashlib.sha256(sealed).hexdigest())

    def read(self, name: str) -> bytes:
        """The bytes of a sealed file, checked again as they are read.

        Raises:
            BundleError: if the file is not in the bundle or changed since it was opened.
        """
        record = self.manifest.files.get(name)
        if record is None:
            raise BundleError(f"{self.path} has no {name}")
        data = (self.path / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != record.sha256:
            raise _damaged(self.path / name)
        return data

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
        if folder.exists() and not replaceable(folder):
            raise PublishError(f"{folder} is not empty and is no bundle; choose another folder")
        records = {
            name: FileRecord(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
            for name, data in sorted(files.items())
        }
        sealed = manifest.model_copy(update={"files": records})
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            stage = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            stage.chmod(0o755)
            for name, data in files.items():
                write_file(stage / name, data)
            write_file(stage / MANIFEST, sealed.model_dump_json(indent=2).encode())
            _replace(folder, stage)
        except OSError as error:
            raise PublishError(f"cannot write the bundle {folder}: {error.strerror}") from None
        return cls.open(folder)


def replaceable(folder: Path) -> bool:
    """Whether a bundle may be written to `folder`: it is empty, absent, or a bundle itself."""
    if not folder.exists():
        return True
    return folder.is_dir() and (not any(folder.iterdir()) or (folder / MANIFEST).is_file())


def _replace(folder: Path, stage: Path) -> None:
    if folder.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
        folder.rename(old)
        stage.rename(folder)
        shutil.rmtree(old)
    else:
        stage.rename(folder)
    sync_folder(folder.parent)


def _parse(sealed: bytes, folder: Path) -> Manifest:
    try:
        found = json.loads(sealed)
        version = found["format"]
    except (ValueError, KeyError, TypeError):
        raise _damaged(folder / MANIFEST) from None
    if version != FORMAT:
        raise BundleError(
            f"{folder} has format {version}, this version reads {FORMAT}; update parquet2vec"
        )
    try:
        return Manifest.model_validate(found)
    except ValidationError:
        raise _damaged(folder / MANIFEST) from None


def _check_file(path: Path, record: FileRecord) -> None:
    try:
        intact = path.stat().st_size == record.bytes and sha256_of(path) == record.sha256
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}; copy it again") from None
    if not intact:
        raise _damaged(path)


def _damaged(path: Path) -> BundleError:
    return BundleError(
        f"{path} is damaged: its bytes are not those that were sealed; copy the bundle again"
    )
