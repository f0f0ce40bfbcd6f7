"""The demo: a year of flights, a refresh on its first months, then December arrives."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from pydantic import Field

from flows import flights
from flows.console import aligned, two_columns
from flows.project import refresh_job
from flows.results import Probe, Promotion
from flows.runners import FlowSettings
from flows.server import prepare_prefect
from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.job import JobReport
from pipeline.progress import Progress

PROJECT_FILE = "parquet2vec.toml"
FIRST_MONTHS, NEW_MONTH = range(1, 12), range(12, 13)

# No training option is set: the demo shows the defaults, which bound the steps.
PROJECT = f"""\
# The demo's project. Try: parquet2vec flow refresh {PROJECT_FILE}

[train]
source = "flights"
key = ["{flights.KEY}"]
event_time = "{flights.EVENT_TIME}"
label = ["{flights.LABEL}"]
ignore = ["{flights.PARTITION}"]

[embed]
source = "flights"
destination = "embeddings"

[refresh]
models = "models"
margin = 0.01
"""


class DemoResult(Config):
    """What the demo measured, and where its results are."""

    rows: int = Field(description="Rows in all twelve months.")
    recipe: str
    dim: int
    probe: Probe
    verdict: str
    promotion: Promotion
    training_seconds: float
    first: JobReport = Field(description="The embedding of January to November.")
    second: JobReport = Field(description="The embedding after December arrived.")
    bundle: str
    current: str
    report: str
    project: str
    seconds: float


def run_demo(out: Path, *, progress: Progress) -> DemoResult:
    """Build the table, refresh through Prefect, add a month, embed again.

    Raises:
        ConfigError: if `out` holds something else, or the data's package is missing.
    """
    started = time.monotonic()
    project = _empty(out) / PROJECT_FILE
    table = flights.build_flights()
    progress.start("months of flights written", len(FIRST_MONTHS))
    for month in FIRST_MONTHS:
        flights.write_months(out / "flights", range(month, month + 1), flights=table)
        progress.advance(1)
    progress.finish()
    project.write_text(PROJECT, encoding="utf-8")
    prepare_prefect()
    from flows.runs import run_embed, run_refresh

    job = refresh_job(project)
    refreshed = run_refresh(job, FlowSettings())
    flights.write_months(out / "flights", NEW_MONTH, flights=table)
    second = run_embed(job.embed, FlowSettings())
    training = refreshed.training
    if training.probe is None:
        raise RuntimeError("the demo's label was not probed")
    return DemoResult(
        rows=second.rows,
        recipe=training.recipe,
        dim=training.dim,
        probe=training.probe,
        verdict=training.verdict,
        promotion=refreshed.promotion,
        training_seconds=training.seconds,
        first=refreshed.embedding,
        second=second,
        bundle=training.bundle,
        current=f"{job.embed.destination}/current",
        report=training.report,
        project=str(project.absolute()),
        seconds=time.monotonic() - started,
    )


def _empty(out: Path) -> Path:
    """The demo's folder, emptied if an earlier demo made it."""
    if out.exists() and any(out.iterdir()):
        if not (out / PROJECT_FILE).exists() and not (out / "flights").exists():
            raise ConfigError(f"{out} must be empty or an earlier demo; choose another --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    return out


def text(result: DemoResult) -> str:
    """A short table, and where to look next."""
    first, second, probe = result.first, result.second, result.probe
    runs = [
        ("", "rows published", "computed", "seconds", "computed rows/s"),
        _run("January to November", first),
        _run("December arrives", second),
    ]
    shown = [name for name in ("embedding", "PCA", "raw", "random") if name in probe.scores]
    probes = [
        ("linear probe of 'late'", *shown),
        (probe.metric, *(f"{probe.scores[name]:.4f}" for name in shown)),
        ("fit seconds", *(f"{probe.fit_seconds[name]:.3f}" for name in shown)),
    ]
    lines = [
        ("model", f"{result.recipe}, {result.dim} numbers a row, {result.training_seconds:.0f} s"),
        ("verdict", result.verdict),
        ("bundle", result.bundle),
        ("current", result.current),
        ("report", result.report),
        ("project", result.project),
        ("took", f"{result.seconds:.0f} s in all"),
    ]
    return "\n\n".join([aligned(runs), aligned(probes), two_columns(lines)])


def _run(name: str, report: JobReport) -> tuple[str, ...]:
    return (
        name,
        f"{report.rows:,}",
        f"{report.computed_rows:,}",
        f"{report.seconds:.1f}",
        f"{report.rows_per_second:,.0f}",
    )
