"""The gate before production: what a candidate must pass, beside the model that it would replace.

A model is intact and carries the figures of its export; it is not worse than the current one on
rows that neither has seen; its code is as alive; the table it learnt from is like what is embedded.
"""

from __future__ import annotations

from flows.results import Check, Promotion
from pipeline.bundle import Bundle
from pipeline.errors import BundleError, DataError, DestinationError, SchemaError
from pipeline.progress import Progress
from pipeline.source import open_source
from pipeline.suitability import farther, newest_profile
from training.contest import Contest, contest
from training.results import LatentHealth

# Beyond what one table of test rows and the next may differ by.
_ACTIVE_SHARE_LOST = 0.1
_MERGED_SHARE_GAINED = 0.01
_SHOWN = 3
_FIGURES = ("torch", "reference", "steady", "latents")


def decide(
    candidate: str,
    current: str | None,
    *,
    source: str,
    label: str | None,
    margin: float,
    destination: str | None = None,
    progress: Progress,
) -> Promotion:
    """Whether the bundle `candidate` may take the place of `current`, and embed to `destination`.

    Raises:
        SchemaError: if the table is no longer as it was when the candidate learnt from it.
        DataError: if the table cannot be read.
    """
    intact = check_intact(candidate)
    if not intact.passed:
        return _refused(candidate, current, (intact,))
    if current is None:
        return _promoted(candidate, "there was no model before", (intact,))
    if current == candidate:
        told = "it is in production already: job and table are unchanged"
        return _promoted(candidate, told, (intact,))
    opened = Bundle.open(candidate)
    contract = opened.manifest.feature_schema
    suited = check_drift(opened, destination) if destination else ()
    open_source(source).check(contract, roles=("feature", "condition"))
    try:
        found = contest(candidate, current, source, label, progress=progress)
    except (SchemaError, BundleError) as error:
        told = f"the model in production cannot be used any more: {error}"
        return _promoted(candidate, told, (intact,))
    except DataError as error:
        return _refused(candidate, current, (Check(name="score", passed=False, found=str(error)),))
    return judge(found, intact, *suited, candidate=candidate, current=current, margin=margin)


def judge(
    found: Contest, *earlier: Check, candidate: str, current: str, margin: float
) -> Promotion:
    """The decision on the figures of both, and on `earlier` checks."""
    checks = (*earlier, check_score(found, margin=margin), *check_latents(found))
    failed = [check for check in checks if not check.passed]
    told = [check.found for check in failed or checks if check.name != "intact"]
    return Promotion(
        promoted=not failed,
        reason="; ".join(told),
        candidate=candidate,
        current=current if failed else candidate,
        candidate_score=found.candidate,
        current_score=found.current,
        checks=checks,
    )


def check_intact(candidate: str) -> Check:
    """Every hash is as sealed, models pass the audit, the figures of the export gate are there."""
    try:
        bundle = Bundle.open(candidate)
        bundle.audit()
    except BundleError as error:
        return Check(name="intact", passed=False, found=f"the candidate is refused: {error}")
    missing = [name for name in _FIGURES if not bundle.manifest.parity.get(name)]
    if missing:
        told = (
            f"the candidate must have passed the export gate, found no figures of "
            f"{', '.join(missing)} in its manifest; train it again"
        )
        return Check(name="intact", passed=False, found=told)
    return Check(name="intact", passed=True, found=f"bundle {bundle.fingerprint[:12]}, as sealed")


def check_score(found: Contest, *, margin: float) -> Check:
    """Not worse by more than `margin`."""
    passed = found.candidate >= found.current - margin
    figures = (
        f"{found.metric} {found.candidate:.4f} against {found.current:.4f} of the current model on "
        f"{found.rows:,} rows that neither has seen"
    )
    verdict = "not worse" if passed else "worse"
    told = f"{verdict} by more than the margin of {margin:g}: {figures}"
    return Check(name="score", passed=passed, found=told)


def check_latents(found: Contest) -> tuple[Check, ...]:
    """As many units vary, in number or in share, and no more rows fall together."""
    if found.candidate_health is None or found.current_health is None:
        return ()
    ours, theirs = found.candidate_health, found.current_health
    fewer = _active_share(ours) < _active_share(theirs) - _ACTIVE_SHARE_LOST
    merged = (ours.merged_rows - theirs.merged_rows) / found.rows
    passed = not (fewer and ours.active_units < theirs.active_units)
    passed = passed and merged <= _MERGED_SHARE_GAINED
    told = (
        f"{_alive(ours)} and {ours.merged_rows:,} of {found.rows:,} rows share another's vector, "
        f"against {_alive(theirs)} and {theirs.merged_rows:,} of the current model"
    )
    return (Check(name="latents", passed=passed, found=told),)


def check_drift(candidate: Bundle, destination: str) -> tuple[Check, ...]:
    """Its table is no farther from what was embedded last than that of the model which did it."""
    try:
        run = newest_profile(destination)
        found = None if run is None else farther(candidate, run)
    except (DestinationError, BundleError) as error:
        return (Check(name="drift", passed=True, found=f"drift was not compared: {error}"),)
    if found is None:
        return ()
    if not found:
        told = "its table is no farther from the rows embedded last than the current model's"
        return (Check(name="drift", passed=True, found=told),)
    columns = ", ".join(
        f"{one.column} ({one.measure} {one.candidate:.3g}, {one.current:.3g} of the current model)"
        for one in found[:_SHOWN]
    )
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    told = (
        f"its table is farther from the rows embedded last than the current model's in {columns}"
        f"{more}; see whether the table it learnt from is whole"
    )
    return (Check(name="drift", passed=False, found=told),)


def _active_share(health: LatentHealth) -> float:
    return health.active_units / health.dim


def _alive(health: LatentHealth) -> str:
    return f"{health.active_units} of {health.dim} units vary"


def _promoted(candidate: str, reason: str, checks: tuple[Check, ...]) -> Promotion:
    return Promotion(
        promoted=True, reason=reason, candidate=candidate, current=candidate, checks=checks
    )


def _refused(candidate: str, current: str | None, checks: tuple[Check, ...]) -> Promotion:
    reason = "; ".join(check.found for check in checks if not check.passed)
    return Promotion(
        promoted=False, reason=reason, candidate=candidate, current=current, checks=checks
    )
