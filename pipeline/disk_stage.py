"""Work in progress of a destination on local disk: the parts that wait to be published."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from pipeline import storage
from pipeline.publishing import PartReport, note_of, noted


@dataclass(frozen=True)
class DiskStage:
    """The parts of one run in the folder where they wait.

    The notes of what is finished lie beside it, so that the folder becomes the version as it is and
    a commit that fails halfway has lost nothing.
    """

    root: Path
    run_id: str

    @property
    def folder(self) -> Path:
        """Where the parts wait."""
        return self.root / "_stage" / self.run_id

    @property
    def notes(self) -> Path:
        """Where a note of every finished part lies."""
        return self.root / "_stage" / f"{self.run_id}.finished"

    def scratch(self, name: str) -> Path:
        """A new file name beside the finished parts."""
        return self.folder / f"{name}.{uuid.uuid4().hex}.tmp"

    def finish(self, scratch: Path, report: PartReport) -> PartReport:
        """Rename `scratch` to the part's name, and note that it is finished."""
        scratch.rename(self.folder / report.name)
        storage.write_file(self._note(report.name), note_of(report), durable=False)
        return report

    def finished(self, name: str, work: str) -> PartReport | None:
        """The part `name` if an earlier run made it by the same `work` and its hash confirms."""
        try:
            report = noted(self._note(name).read_bytes())
        except OSError:
            return None
        if report is None or (report.work, report.name) != (work, name):
            return None
        return report if intact(self.folder / name, report) else None

    def reuse(
        self, report: PartReport, *, name: str, run_id: str, destination: str | None = None
    ) -> PartReport | None:
        """Take over a part of an older version by a hard link; None if it is not intact."""
        part, root = self.folder / name, Path(destination or self.root)
        try:
            part.unlink(missing_ok=True)
            os.link(root / "versions" / run_id / report.name, part)
        except OSError:
            return None
        # No note: to link again is no more work than to find the part finished.
        return report.model_copy(update={"name": name}) if intact(part, report) else None

    def _note(self, name: str) -> Path:
        return self.notes / f"{name}.json"


def intact(path: Path, part: PartReport) -> bool:
    """Whether the file at `path` has the bytes of `part`."""
    try:
        return path.stat().st_size == part.bytes and storage.sha256_of(path) == part.sha256
    except OSError:
        return False
