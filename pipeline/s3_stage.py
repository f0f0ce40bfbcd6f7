"""Work in progress of a destination in an object store: parts without a manifest are no version."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from pipeline import objects, scratch
from pipeline.locations import S3Location, locate
from pipeline.publishing import PartReport, note_of, noted

_SHA256, _WORK = "sha256", "work"


@dataclass(frozen=True)
class S3Stage:
    """The parts of one run, put straight to where the version will be, and notes of the finished.

    A part is created once and never replaced: of two runs that do the same work, each takes what
    the other has put already, and a run that was given up cannot touch what was published since.
    """

    root: S3Location
    run_id: str

    def scratch(self, name: str) -> Path:
        """A new file name in the machine's folder for temporary files."""
        folder = scratch.folder("parts")
        _drop_abandoned(folder)
        return folder / f"{name}.{os.getpid()}.{uuid.uuid4().hex}.tmp"

    def finish(self, written: Path, report: PartReport) -> PartReport:
        """Put the part at `written` into the store, and note that it is finished."""
        part = self._part(report.name)
        noted = {_SHA256: report.sha256, _WORK: report.work}
        if not objects.upload(written, part, noted):
            report = self._taken(part, report) or self._replaced(part, report, written, noted)
        objects.write(self._note(report.name), note_of(report))
        return report

    def finished(self, name: str, work: str) -> PartReport | None:
        """The part `name` if an earlier run made it by the same `work` and it is what was noted."""
        try:
            report = noted(objects.read(self._note(name)))
        except FileNotFoundError:
            return None
        if report is None or (report.work, report.name) != (work, name):
            return None
        return report if _holds(self._part(name), report) else None

    def reuse(
        self, report: PartReport, *, name: str, run_id: str, destination: str | None = None
    ) -> PartReport | None:
        """Copy a part of an older version inside the store; None if it is not what was sealed.

        The store keeps bytes and notes of an object together, so that equal notes and an equal size
        are the evidence; `verify` hashes.
        """
        root = locate(destination) if destination is not None else self.root
        if not isinstance(root, S3Location):
            return None
        part, old = self._part(name), root.join("versions", run_id, report.name)
        if not _holds(part, report):
            objects.delete([part])
            try:
                objects.copy(old, part)
            except FileNotFoundError:
                return None
            if not _holds(part, report):
                objects.delete([part])
                return None
        return report.model_copy(update={"name": name})

    def _taken(self, part: S3Location, report: PartReport) -> PartReport | None:
        """What stands at `part` instead of the part of `report`, if the same work has made it."""
        try:
            facts, noted = objects.metadata(part)
        except FileNotFoundError:
            return None
        if noted.get(_WORK) != report.work or len(noted.get(_SHA256, "")) != len(report.sha256):
            return None
        return report.model_copy(update={"bytes": facts.bytes, "sha256": noted[_SHA256]})

    def _replaced(
        self, part: S3Location, report: PartReport, written: Path, noted: dict[str, str]
    ) -> PartReport:
        """`report`, after something that no run of this work can have put there is gone."""
        objects.delete([part])
        if not objects.upload(written, part, noted):
            raise OSError(f"{part} is written by others at the same time; run again")
        return report

    def _part(self, name: str) -> S3Location:
        return self.root.join("versions", self.run_id, name)

    def _note(self, name: str) -> S3Location:
        return self.root.join("_stage", self.run_id, f"{name}.json")


def _holds(part: S3Location, report: PartReport) -> bool:
    """Whether there is an object at `part` that was put there as the part of `report`."""
    try:
        facts, noted = objects.metadata(part)
    except FileNotFoundError:
        return False
    found = (facts.bytes, noted.get(_SHA256), noted.get(_WORK))
    return found == (report.bytes, report.sha256, report.work)


def _drop_abandoned(folder: Path) -> None:
    """Delete what processes that are gone have left."""
    for path in folder.glob("*.tmp"):
        process = path.name.split(".")[-3]
        if process.isdecimal() and not _is_alive(int(process)):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
