"""Aliases of models: names that lead to one version of a bundle, wherever the bundles lie.

On a disk an alias is a link, in an object store a sequence of pointers below its name. Whoever
opens one resolves it once, and works with that version however the alias moves meanwhile.
"""

from __future__ import annotations

from pathlib import Path

from pipeline import objects
from pipeline.errors import BundleError
from pipeline.locations import ALIASES, Location, S3Location, locate
from pipeline.manifest import MANIFEST
from pipeline.publishing import Pointer
from pipeline.s3_pointers import S3Pointers


def resolved(path: str | Path) -> str:
    """`path` itself, or the version that it leads to if it is an alias.

    Raises:
        BundleError: if it leads nowhere.
        StoreError: if the store does not answer.
    """
    return str(follow(locate(path)))


def follow(location: Location) -> Location:
    """`location` itself, or the version that it leads to if it is an alias; as `resolved`."""
    if isinstance(location, S3Location):
        return _follow_pointers(location)
    return _follow_link(location)


def _follow_link(path: Path) -> Path:
    try:
        return path.resolve(strict=True) if path.is_symlink() else path
    except FileNotFoundError:
        raise _leads_nowhere(path, path.readlink()) from None
    except (OSError, RuntimeError):
        return path  # told when it is opened


def _follow_pointers(location: S3Location) -> S3Location:
    if location.name not in ALIASES:
        return location
    try:
        pointer = read(S3Pointers(location))
    except PermissionError as error:
        raise BundleError(str(error)) from None
    if pointer is None:
        return location
    models = S3Location(location.bucket, location.key.rpartition("/")[0])
    version = models.join("versions", pointer.run_id)
    try:
        objects.head(version.join(MANIFEST))
    except FileNotFoundError:
        raise _leads_nowhere(location, version) from None
    return version


def read(pointers: S3Pointers) -> Pointer | None:
    """Where an alias in an object store leads; None before its first move.

    Raises:
        BundleError: if that is damaged: which version is in use must not be guessed.
    """
    pointer = pointers.current()
    if damaged := pointers.damaged():
        raise BundleError(
            f"{damaged} must name a version, found it damaged; delete it, and the alias leads "
            "where it led before"
        )
    return pointer


def _leads_nowhere(alias: object, target: object) -> BundleError:
    return BundleError(
        f"{alias} must lead to a bundle, found that {target} is not there; "
        "`parquet2vec models list` shows what is, `parquet2vec models rollback` goes back to one"
    )
