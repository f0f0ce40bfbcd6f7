"""Notes of drift: what `monitor` found of each run, sealed, as a destination keeps it."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from pipeline.drift_report import DriftReport
from pipeline.publishing import Destination
from pipeline.seals import UNSEALED, Seal, is_intact, sealed


class _Note(DriftReport):
    seal: Seal


def write_note(destination: Destination, report: DriftReport) -> None:
    """Keep `report` as the note of its run; where its picture lies is not part of it."""
    note = _Note(**{**dict(report), "picture": None}, seal=UNSEALED)
    data = sealed(note.model_dump_json(exclude_none=True).encode())
    destination.write_drift(f"{report.run_id}.json", data)


def notes(destination: Destination) -> list[DriftReport]:
    """What was found of earlier runs, oldest first; damaged notes are left out."""
    found = [note for _, note in _notes(destination) if note is not None]
    return sorted(found, key=lambda one: (one.published, one.run_id))


def damaged_notes(destination: Destination) -> list[str]:
    """Names of the notes in ``_drift`` that are not as they were written, sorted."""
    return [name for name, note in _notes(destination) if note is None]


def _notes(destination: Destination) -> Iterator[tuple[str, DriftReport | None]]:
    for name in destination.drift_files():
        content = destination.read_drift(name) if name.endswith(".json") else None
        # It may have been deleted since it was listed.
        if content is not None:
            yield name, _read(content)


def _read(content: bytes) -> DriftReport | None:
    try:
        note = _Note.model_validate_json(content)
    except ValidationError:
        return None
    return (
        DriftReport(**note.model_dump(exclude={"seal"})) if is_intact(content, note.seal) else None
    )
