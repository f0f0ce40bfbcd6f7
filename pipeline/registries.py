"""Opening a registry wherever it lies, and keeping the versions in it few."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pipeline.config import Config
from pipeline.disk_registry import DiskRegistry
from pipeline.errors import PublishError
from pipeline.keeping import beyond, is_over
from pipeline.locations import ALIASES, S3Location, locate
from pipeline.registry import Registry, before_production


class ModelCleaning(Config):
    """What `models gc` deleted; `waiting` go later, whoever opened them still has time."""

    models: str
    versions: tuple[str, ...]
    waiting: tuple[str, ...]
    leftovers: tuple[str, ...]


def open_registry(path: str | Path, *, create: bool = False) -> Registry:
    """The registry at `path`; `create` makes it where there is nothing yet.

    Raises:
        BundleError: if it is not ours, or of a newer format.
        PublishError: if it cannot be written.
        StoreError: if the store does not answer.
    """
    location = locate(path)
    if isinstance(location, S3Location):
        # A job on disk does not pay for loading it.
        from pipeline.s3_registry import S3Registry

        return S3Registry.open(location, create=create)
    return DiskRegistry.open(location, create=create)


def clean(
    registry: Registry, *, keep: int, grace: str, models: Collection[str] = ()
) -> ModelCleaning:
    """Delete versions beyond the last `keep`, and what killed runs left behind.

    What an alias names stays, and so does the version that production had before, and one whose
    bundle is in `models`, fingerprints of those whose vectors are read. A version stays too until
    the duration `grace` has passed since an alias left it, or since it was registered.

    Raises:
        LockedError, PublishError: if the registry cannot be cleaned.
    """
    with registry.locked():
        try:
            old = [
                version
                for version in beyond(registry.versions(), keep, stay=_staying(registry))
                if not (models and _may_be(registry, version, models))
            ]
            over = [version for version in old if is_over(registry.left(version), grace)]
            gone = [version for version in over if registry.remove(version)]
            leftovers = registry.sweep()
        except OSError as error:
            raise PublishError(
                f"cannot clean {registry.path}: {error.strerror or error}; run it again when that "
                "is mended"
            ) from None
    return ModelCleaning(
        models=registry.path,
        versions=tuple(gone),
        waiting=tuple(version for version in old if version not in gone),
        leftovers=tuple(leftovers),
    )


def _staying(registry: Registry) -> set[str]:
    """Versions that an alias names, and the one before production's."""
    named = [registry.alias(name) for name in ALIASES]
    before = before_production(registry)
    return {pointer.run_id for pointer in named if pointer} | ({before} if before else set())


def _may_be(registry: Registry, version: str, models: Collection[str]) -> bool:
    """Whether the bundle of a version is in `models`; it may be where nothing was recorded."""
    lineage = registry.lineage(version)
    return lineage is None or lineage.bundle in models
