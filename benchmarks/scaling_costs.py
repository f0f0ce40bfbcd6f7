"""The constants behind the figures of `scaling.py`, and what they add up to on a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

MILLION = 1_000_000
# Of flows/batches.py: at most so many task runs, each with this cost (an earlier measurement).
MAX_BATCHES = 256
TASK_SECONDS = 0.010
BILLION = 1_000_000_000


@dataclass(frozen=True)
class Costs:
    """Medians of the points, and the constants that they give."""

    found: dict[str, Any]

    def curve(self, name: str) -> list[dict[str, Any]]:
        return [p for p in self.found.values() if p["curve"] == name and p["runs"]]

    @property
    def rows(self) -> tuple[float, float]:
        """CPU seconds of a million rows, and of none: the least squares line of the rows curve."""
        curve = self.curve("rows")
        line = np.polyfit([p["rows"] / MILLION for p in curve], [middle(p) for p in curve], 1)
        return float(line[0]), float(line[1])

    @property
    def columns(self) -> list[tuple[int, float, float, float]]:
        """Columns, CPU seconds per million rows, start-up, peak: a table against a longer one."""
        found = []
        curve = self.curve("columns")
        for one, three in zip(curve[::2], curve[1::2], strict=True):
            slope = (middle(three) - middle(one)) / (three["rows"] - one["rows"])
            start = middle(one) - slope * one["rows"]
            found.append((one["columns"], slope * MILLION, start, middle(three, "bytes")))
        return found

    def per_file(self, name: str, what: str, *, columns: int = 16) -> float:
        """Seconds of a phase for one file more: the largest number of files against one."""
        curve = self.cut_into_files(columns)
        spent = phase(curve[-1], name, what) - phase(curve[0], name, what)
        return float(spent / (curve[-1]["files"] - curve[0]["files"]))

    def cut_into_files(self, columns: int) -> list[dict[str, Any]]:
        """The phases of at most a million rows, from one file to many."""
        curve = [p for p in self.curve("phases") if p["columns"] == columns]
        small = (p for p in curve if p["rows"] <= MILLION)
        return sorted(small, key=lambda point: point["files"])

    @property
    def narrow(self) -> Constants:
        """Those of 16 columns."""
        slope, start = self.rows
        planning, mapping = (self.per_file(name, "cpu") for name in ("planning", "mapping"))
        return Constants(16, slope, start, planning, mapping, self.per_file("publishing", "wall"))

    @property
    def wide(self) -> Constants:
        """Those of the widest table, whose slope includes what each file costs."""
        columns, slope, start, _ = self.columns[-1]
        planning = self.per_file("planning", "cpu", columns=columns)
        return Constants(columns, slope, start, planning, 0.0, self.narrow.publishing)


@dataclass(frozen=True)
class Constants:
    """Seconds: of a million rows, of a process, and of a file planned, mapped and published."""

    columns: int
    rows: float
    start: float
    planning: float
    mapping: float
    publishing: float

    def billion(self, files: int, slots: int, batches: int) -> tuple[float, float, float]:
        """Before the shards, in them, and after them: a billion rows in `files` shards."""
        batches = min(batches, files)
        shard = self.rows * BILLION / MILLION / files + self.mapping
        shards = ceil(batches / slots) * ceil(files / batches) * shard
        before = self.start + files * self.planning + batches * TASK_SECONDS
        return before, self.start + shards, files * self.publishing


def middle(point: dict[str, Any], what: str = "cpu") -> float:
    """The median over the runs of a point."""
    return float(np.median([run[what] for run in point["runs"]]))


def phase(point: dict[str, Any], name: str, what: str) -> float:
    """The median of one phase."""
    return float(np.median([run["phases"][name][what] for run in point["runs"]]))
