"""Whether drift may train a model now: not again and again while the same shift lasts."""

from __future__ import annotations

from datetime import datetime, timedelta

from flows.jobs import DriftJob
from pipeline.config import parse_seconds
from pipeline.drift_report import DriftReport
from pipeline.errors import BundleError
from pipeline.lineage import Lineage
from pipeline.registries import open_registry


def held_back(job: DriftJob, found: DriftReport, *, now: datetime) -> str | None:
    """Why drift does not train a model `now`; None if it may.

    A model that was trained since the drift began has seen it. If the drift is still there, either
    the gate refused that model or its table is not yet like what comes in: another one a night
    later would hardly be better.
    """
    if job.refresh is None or found.streak is None:
        return None
    newest = _newest(job.refresh.models)
    began = datetime.fromisoformat(found.streak.published)
    if newest is None or newest.at < began:
        return None
    again = newest.at + timedelta(seconds=parse_seconds(job.pause))
    if again <= now:
        return None
    return (
        f"model {newest.version[:8]} was trained on {newest.at:%Y-%m-%d}, since the drift began; "
        f"drift trains another from {again:%Y-%m-%d %H:%M} UTC on, `parquet2vec flow refresh` at "
        "any time"
    )


def _newest(models: str) -> Lineage | None:
    """The version that was registered last."""
    try:
        registry = open_registry(models)
    except BundleError:  # nothing was ever registered
        return None
    known = [found for one in registry.versions() if (found := registry.lineage(one)) is not None]
    return max(known, key=lambda one: one.at, default=None)
