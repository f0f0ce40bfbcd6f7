"""Promotion: a candidate becomes the current model only if it is not worse on the same rows.

::

    MODELS/versions/<id>    bundles; the id names the training job and the table it was given
    MODELS/current          leads to the promoted one; moved by one rename
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from flows.jobs import RefreshJob
from flows.results import Promotion
from pipeline import storage
from pipeline.bundle import Bundle
from pipeline.errors import BundleError, ConfigError, DataError, SchemaError
from pipeline.progress import Progress
from pipeline.source import open_source
from training.contest import Contest, contest
from training.spec import TrainingJob

_ID_LENGTH = 16


def candidate_job(job: RefreshJob) -> TrainingJob:
    """The training of a refresh, its `out` named by the work: the same work has the same folder."""
    asked = job.train.model_dump_json(exclude={"out"})
    work = hashlib.sha256(f"{asked}{open_source(job.train.source).fingerprint}".encode())
    out = Path(job.models) / "versions" / work.hexdigest()[:_ID_LENGTH]
    return job.train.model_copy(update={"out": str(out)})


def promote(job: RefreshJob, candidate: str, *, progress: Progress) -> Promotion:
    """Move `current` to the bundle `candidate`, unless that is worse by more than the margin.

    Raises:
        ConfigError: if `current` is there and no link.
    """
    link = Path(job.models) / "current"
    version = storage.pointed(link)
    if version is None and link.exists():
        raise ConfigError(
            f"{link} must be a link that refresh moves, found a folder; rename that folder"
        )
    current = str(link.parent / "versions" / version) if version else None
    decision = decide(job, candidate, current=current, progress=progress)
    if decision.promoted and decision.candidate != current:
        storage.point(link, f"versions/{Path(candidate).name}")
    return decision


def decide(
    job: RefreshJob, candidate: str, *, current: str | None, progress: Progress
) -> Promotion:
    """Whether the bundle `candidate` may take the place of `current`, both folders.

    Raises:
        BundleError, SchemaError: if the candidate is damaged, or the table is no longer as it was
            when the candidate learnt from it.
    """
    if current is None:
        return _promoted(candidate, "there was no model before")
    if current == candidate:
        return _promoted(candidate, "it is the current model already: job and table are unchanged")
    label = job.train.label[0] if job.train.label else None
    contract = Bundle.open(candidate).manifest.feature_schema
    open_source(job.train.source).check(contract, roles=("feature", "condition"))
    try:
        found = contest(candidate, current, job.train.source, label, progress=progress)
    except (SchemaError, BundleError) as error:
        return _promoted(candidate, f"the current model cannot be used any more: {error}")
    except DataError as error:
        return Promotion(promoted=False, reason=str(error), candidate=candidate, current=current)
    return judge(found, candidate=candidate, current=current, margin=job.margin)


def judge(found: Contest, *, candidate: str, current: str, margin: float) -> Promotion:
    """The decision on two scores: not worse by more than `margin`."""
    promoted = found.candidate >= found.current - margin
    figures = (
        f"{found.metric} {found.candidate:.4f} against {found.current:.4f} of the current model on "
        f"{found.rows:,} rows that neither has seen"
    )
    verdict = "not worse" if promoted else "worse"
    return Promotion(
        promoted=promoted,
        reason=f"{verdict} by more than the margin of {margin:g}: {figures}",
        candidate=candidate,
        current=candidate if promoted else current,
        candidate_score=found.candidate,
        current_score=found.current,
    )


def _promoted(candidate: str, reason: str) -> Promotion:
    return Promotion(promoted=True, reason=reason, candidate=candidate, current=candidate)
