"""Promotion: a version of a model goes to production only through the gate."""

from __future__ import annotations

import hashlib

from flows.gate import decide
from flows.jobs import PromotionJob, RefreshJob
from flows.results import Promotion, TrainingResult
from flows.verbs import training_result
from pipeline.bundle import REPORT
from pipeline.errors import ConfigError
from pipeline.lineage import who
from pipeline.locations import PRODUCTION
from pipeline.progress import Progress
from pipeline.publishing import Pointer
from pipeline.registries import open_registry
from pipeline.registry import Registry, find
from pipeline.source import open_source

_ID_LENGTH = 16


def candidate_version(job: RefreshJob) -> str:
    """The version that a refresh trains, named by the work: the same work is the same version."""
    asked = job.train.model_dump_json(exclude={"out"})
    work = hashlib.sha256(f"{asked}{open_source(job.train.source).fingerprint}".encode())
    return work.hexdigest()[:_ID_LENGTH]


def registered(registry: Registry, version: str) -> TrainingResult | None:
    """What `train` answered about a version that is registered; None if there is none."""
    from training.report import NUMBERS_FILE, PAGE_FILE
    from training.results import Evaluation

    if not registry.has(version) or registry.lineage(version) is None:
        return None
    numbers = registry.attached(version, NUMBERS_FILE)
    if numbers is None:
        return None
    place = registry.location(version)
    evaluation = Evaluation.model_validate_json(numbers)
    return training_result(place, evaluation, f"{place}/{REPORT}/{PAGE_FILE}", seconds=0.0)


def promote(job: PromotionJob, *, by_hand: bool, progress: Progress) -> Promotion:
    """Move `production` to a version, if the gate lets it.

    What a rollback has pinned is left alone, unless it is asked for `by_hand`. If another moves
    production meanwhile, the version is judged again, beside the model that is there now.

    Raises:
        BundleError: if there is no such version.
        ConfigError: if nothing says which table to compare on.
        SchemaError, DataError: if the version cannot read the table.
    """
    registry = open_registry(job.models)
    version = find(registry, job.version)
    while True:
        seen = registry.alias(PRODUCTION)
        current = registry.location(seen.run_id) if seen else None
        if seen is not None and seen.pinned and not by_hand:
            return _pinned(registry, version, seen)
        source, label = _compared_on(registry, version, job)
        decision = decide(
            registry.location(version), current,
            source=source, label=label, margin=job.margin, destination=job.destination,
            progress=progress,
        )  # fmt: skip
        unmoved = seen is not None and seen.run_id == version and not seen.pinned
        if not decision.promoted or unmoved:
            return decision
        pointer = Pointer(run_id=version, by=who(), why=decision.reason)
        if registry.move(PRODUCTION, pointer, expected=seen):
            return decision


def _compared_on(registry: Registry, version: str, job: PromotionJob) -> tuple[str, str | None]:
    """Table and label to compare models by: as asked for, or as the version was trained."""
    lineage = registry.lineage(version)
    source = job.source or (lineage.source if lineage else None)
    if source is None:
        raise ConfigError(
            f"--source is required: nothing recorded says which table version {version} of "
            f"{job.models} was trained on"
        )
    return source, job.label or (lineage.label if lineage else None)


def _pinned(registry: Registry, version: str, seen: Pointer) -> Promotion:
    return Promotion(
        promoted=False,
        reason=f"a rollback has pinned production to version {seen.run_id}; "
        f"`parquet2vec models rollback {registry.path} --unpin` lets refreshes move it again",
        candidate=registry.location(version),
        current=registry.location(seen.run_id),
    )
