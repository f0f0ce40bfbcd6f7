"""Monitoring: each run's profile against training and the run before, noted at the destination."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import takewhile

from pipeline.config import MonitorJob
from pipeline.destinations import open_destination
from pipeline.drift import RUNS_PER_FALSE_ALARM, Earlier, compare, files_of
from pipeline.drift_notes import damaged_notes, notes, write_note
from pipeline.drift_picture import picture
from pipeline.drift_report import FORMAT, DriftReport, Streak
from pipeline.errors import DestinationError, PublishError
from pipeline.profile import RUN_PROFILE, Block, RunProfile, read_run, together
from pipeline.progress import Progress, Silent
from pipeline.publishing import Destination, VersionManifest
from pipeline.resolution import current, find

# Notes are kept longer than versions: they are the history that says how days differ.
KEPT_NOTES = 100
# Earlier runs beyond these say nothing more.
_HISTORY = 64


def monitor(job: MonitorJob, *, progress: Progress | None = None) -> DriftReport:
    """Compare what a run computed with training and the run before; note what is found.

    The note ``_drift/<run_id>.json`` and the picture beside it stand for this run until it is
    monitored again; the oldest notes go.

    Raises:
        DestinationError: if there is no such version, or its profile is damaged.
        PublishError: if the notes cannot be written.
    """
    destination = open_destination(job.destination)
    manifest = _version(destination, job.run)
    profile = run_profile(destination, manifest)
    known = notes(destination)
    report = _report(destination, manifest, profile, known, progress=progress or Silent())
    try:
        if profile is not None:
            name = f"{manifest.run_id}.svg"
            destination.write_drift(name, picture(report, profile).encode())
            report = report.model_copy(update={"picture": f"{destination.path}/_drift/{name}"})
        write_note(destination, report)
        _forget(destination, [*known, report])
    except OSError as error:
        raise PublishError(
            f"cannot note what was found in {job.destination}: {error.strerror or error}"
        ) from None
    return report


def note_what_followed(report: DriftReport, followed: str) -> DriftReport:
    """The report with what it set off, kept as the note of its run.

    Raises:
        PublishError: if the note cannot be written.
    """
    told = report.model_copy(update={"followed": followed})
    try:
        write_note(open_destination(report.destination), told)
    except OSError as error:
        raise PublishError(
            f"cannot note what followed in {report.destination}: {error.strerror or error}"
        ) from None
    return told


def _version(destination: Destination, run: str | None) -> VersionManifest:
    """The newest version, which a pinned pointer may not lead to, or the one that `run` names."""
    if run is not None:
        return destination.manifest(find(destination, run))
    published = destination.published()
    return published[-1] if published else destination.manifest(current(destination))


def drift_picture(destination: str, run_id: str) -> bytes | None:
    """The picture of what was found of a run, as SVG; None if there is none."""
    return open_destination(destination).read_drift(f"{run_id}.svg")


def run_profile(destination: Destination, manifest: VersionManifest) -> RunProfile | None:
    """The profile of a version; None if it computed no rows, or its model had no profile.

    Raises:
        DestinationError: if it is not what was sealed.
    """
    if manifest.profile is None:
        return None
    content = destination.profile(manifest.run_id)
    path = f"{destination.path}/versions/{manifest.run_id}/{RUN_PROFILE}"
    if content is None or hashlib.sha256(content).hexdigest() != manifest.profile.sha256:
        raise DestinationError(
            f"{path} must be as it was sealed, found it missing or damaged; embed again into a new "
            "version, or monitor another one"
        )
    return read_run(content, path=path)


def _report(
    destination: Destination,
    manifest: VersionManifest,
    profile: RunProfile | None,
    known: Sequence[DriftReport],
    *,
    progress: Progress,
) -> DriftReport:
    report = DriftReport(
        format=FORMAT,
        destination=destination.path,
        run_id=manifest.run_id,
        model=manifest.model,
        published=manifest.published,
        rows=0 if profile is None else profile.run.rows,
        files=0.0 if profile is None else files_of(profile.run.blocks),
        drifted=False,
        runs_per_false_alarm=RUNS_PER_FALSE_ALARM,
        note="the run computed no rows, or its model was made before there were profiles",
    )
    if profile is None:
        return report
    earlier = _earlier(destination, manifest, known)
    calm = [one for one in earlier if not one.drifted]
    previous = calm[-1] if calm else None
    columns = compare(
        profile,
        previous=previous,
        history=calm[-_HISTORY:],
        seed=int.from_bytes(manifest.run_id.encode()[:8]),
        progress=progress,
    )
    drifted = any(column.drifted for column in columns)
    return report.model_copy(
        update={
            "drifted": drifted,
            "streak": _streak(manifest, known) if drifted else None,
            "followed": next((o.followed for o in known if o.run_id == manifest.run_id), None),
            "columns": columns,
            "previous": None if previous is None else previous.run_id,
            "history": len(calm),
            "note": None,
            "counted": _whole(profile, manifest.run_id),
        }
    )


def _streak(manifest: VersionManifest, known: Sequence[DriftReport]) -> Streak:
    """The runs with drift that end with this one, whatever models they are of."""
    earlier = [one for one in known if one.note is None and one.published < manifest.published]
    drifted = list(takewhile(lambda one: one.drifted, reversed(earlier)))
    first = drifted[-1] if drifted else manifest
    return Streak(runs=len(drifted) + 1, first=first.run_id, published=first.published)


def _earlier(
    destination: Destination, manifest: VersionManifest, known: Sequence[DriftReport]
) -> list[Earlier]:
    """Earlier runs of the same model, oldest first: noted ones, and the last one if it is not."""
    found = [
        Earlier(
            run_id=one.run_id,
            published=one.published,
            drifted=one.drifted,
            files=one.files,
            counted=one.counted,
        )
        for one in known
        if one.counted is not None
        and one.model == manifest.model
        and one.run_id != manifest.run_id
        and one.published < manifest.published
    ]
    # What a damaged note says is not known: it may have been drift.
    noted = {one.run_id for one in known}
    noted |= {name.removesuffix(".json") for name in damaged_notes(destination)}
    for version in destination.published():
        new = version.run_id not in noted and version.model == manifest.model
        if not new or version.published >= manifest.published or version.profile is None:
            continue
        try:
            profile = run_profile(destination, version)
        except DestinationError:
            continue
        if profile is not None:
            found.append(
                Earlier(
                    run_id=version.run_id,
                    published=version.published,
                    drifted=False,
                    files=files_of(profile.run.blocks),
                    counted=_whole(profile, version.run_id),
                )
            )
    return sorted(found, key=lambda one: (one.published, one.run_id))


def _whole(profile: RunProfile, run_id: str) -> Block:
    return together([*profile.run.blocks]).model_copy(update={"source": run_id})


def _forget(destination: Destination, known: Sequence[DriftReport]) -> None:
    newest = sorted(known, key=lambda one: (one.published, one.run_id))
    for one in newest[: max(0, len(newest) - KEPT_NOTES)]:
        for suffix in (".svg", ".json"):
            destination.write_drift(f"{one.run_id}{suffix}", None)
