"""What is told of drift: the differences of a run, column by column, as the notes keep them."""

from __future__ import annotations

from typing import Literal

from pipeline.config import Config
from pipeline.profile import Block, GaugeKind

FORMAT = 1

Measure = Literal["PSI", "KS", "nulls", "unknown", "distance"]
Against = Literal["training", "previous run"]


class Finding(Config):
    """One measured difference; `threshold` is what it must exceed to be drift.

    `excess` is how far it lies beyond what chance gives on average, in units of what is allowed.
    """

    measure: Measure
    against: Against
    value: float
    threshold: float
    excess: float
    drifted: bool


class ColumnDrift(Config):
    """What was found of a column, a summary of it, a latent, or all latents together."""

    name: str
    column: str
    kind: GaugeKind | Literal["embedding"]
    drifted: bool
    excess: float
    findings: tuple[Finding, ...]


class Streak(Config):
    """Runs with drift that follow one another: how many, and the first of them."""

    runs: int
    first: str
    published: str


class DriftReport(Config):
    """What `monitor` found of one run, worst first; `counted` are the run's own counts.

    `history` counts the earlier runs without drift that said how days differ; `previous` is the one
    that this run was compared with. `note` says why nothing was compared. `streak` are the runs
    with drift that end with this one, and `followed` says what it set off.
    """

    format: int
    destination: str
    run_id: str
    model: str
    published: str
    rows: int
    files: float
    drifted: bool
    runs_per_false_alarm: int
    columns: tuple[ColumnDrift, ...] = ()
    previous: str | None = None
    history: int = 0
    note: str | None = None
    picture: str | None = None
    counted: Block | None = None
    streak: Streak | None = None
    followed: str | None = None
