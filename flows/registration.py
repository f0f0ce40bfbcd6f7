"""What is done to a registry without judging models: register, nominate, roll back, let go."""

from __future__ import annotations

from pathlib import Path

from flows.jobs import ModelRetentionJob
from pipeline import registries
from pipeline.bundle import Bundle
from pipeline.errors import BundleError, PublishError
from pipeline.lineage import Lineage, code, now, who
from pipeline.locations import CANDIDATE, PRODUCTION
from pipeline.publishing import ROLLBACK, UNPINNED, Pointer
from pipeline.registries import ModelCleaning, open_registry
from pipeline.registry import Registry, before_production, find
from pipeline.resolution import resolve
from pipeline.source import open_source
from training.spec import TrainingJob

_ID_LENGTH = 16


def register(models: str, version: str, job: TrainingJob, *, run: str | None) -> str:
    """Make the trained bundle `job.out` a version, and the candidate; its path or URL."""
    registry = open_registry(models, create=True)
    lineage = Lineage(
        version=version,
        bundle=Bundle.open(job.out).fingerprint,
        source=job.source,
        source_fingerprint=open_source(job.source).fingerprint,
        label=job.label[0] if job.label else None,
        code=code(),
        run=run,
        at=now(),
        by=who(),
    )
    registry.add(Path(job.out), lineage)
    nominate(registry, version)
    return registry.location(version)


def add(models: str, bundle: str) -> Lineage:
    """Make a bundle that was trained elsewhere a version, and the candidate.

    Raises:
        BundleError: if it is damaged.
        PublishError: if the registry cannot be written.
    """
    registry = open_registry(models, create=True)
    opened = Bundle.open(bundle)
    labels = opened.manifest.feature_schema.labels
    lineage = Lineage(
        version=opened.fingerprint[:_ID_LENGTH],
        bundle=opened.fingerprint,
        source_fingerprint=opened.manifest.training_data.get("fingerprint"),
        label=labels[0].name if labels else None,
        code=opened.manifest.versions.get("parquet2vec", "unknown"),
        at=now(),
        by=who(),
    )
    registry.add(opened.path, lineage)
    nominate(registry, lineage.version)
    return lineage


def nominate(registry: Registry, version: str) -> None:
    """Let the alias `candidate` lead to `version`; of two who do, the later one is right."""
    while True:
        seen = registry.alias(CANDIDATE)
        if seen is not None and seen.run_id == version:
            return
        pointer = Pointer(run_id=version, by=who(), why="registered")
        if registry.move(CANDIDATE, pointer, expected=seen):
            return


def clean(job: ModelRetentionJob) -> ModelCleaning:
    """Delete versions that nobody needs, but not the one that made the vectors which are read.

    Raises:
        DestinationError: if `job.destination` has no vectors.
        LockedError, PublishError: if the registry cannot be cleaned.
    """
    registry = open_registry(job.models)
    models = {resolve(job.destination).model} if job.destination is not None else ()
    return registries.clean(registry, keep=job.keep, grace=job.grace, models=models)


def roll_back(models: str, version: str | None) -> Pointer:
    """Move `production` to the version that it had before, or to `version`, and pin it there.

    Raises:
        BundleError: if there is no such version, or it is damaged.
        PublishError: if production cannot be moved, or another moved it meanwhile.
    """
    registry = open_registry(models)
    seen = registry.alias(PRODUCTION)
    target = find(registry, version) if version else before_production(registry)
    if target is None or not registry.has(target):
        raise BundleError(
            f"{models} must have a version that was in production before, found none; "
            f"`parquet2vec models list {models}` shows what there is"
        )
    Bundle.open(registry.location(target))
    pointer = Pointer(run_id=target, pinned=True, by=who(), why=ROLLBACK)
    return _moved(registry, pointer, seen)


def unpin(models: str) -> Pointer:
    """Let later refreshes move `production` again.

    Raises:
        BundleError: if nothing is in production.
        PublishError: if another moved it meanwhile.
    """
    registry = open_registry(models)
    find(registry, PRODUCTION)
    seen = registry.alias(PRODUCTION)
    pointer = Pointer(run_id=seen.run_id if seen else "", by=who(), why=UNPINNED)
    return _moved(registry, pointer, seen)


def _moved(registry: Registry, pointer: Pointer, seen: Pointer | None) -> Pointer:
    if not registry.move(PRODUCTION, pointer, expected=seen):
        raise PublishError(
            f"{registry.path}/{PRODUCTION} was moved by another run meanwhile; look where it leads "
            f"now with `parquet2vec models list {registry.path}`, then run this again"
        )
    return pointer
