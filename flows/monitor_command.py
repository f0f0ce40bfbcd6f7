"""The command that looks for drift."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.console import AsJson, Debug, examples, reporting
from flows.options import with_options
from flows.progress import console_progress
from pipeline.config import MonitorJob, parse

if TYPE_CHECKING:
    from pipeline.drift_report import DriftReport

monitor_app = typer.Typer()

DRIFTED = 1

FailOnDrift = Annotated[
    bool, typer.Option("--fail-on-drift", help="Exit with 1 when something has drifted.")
]


@monitor_app.command(epilog=examples("monitor embeddings", "monitor embeddings --fail-on-drift"))
@with_options(MonitorJob, arguments=("destination",))
def monitor(
    given: dict[str, Any],
    *,
    fail_on_drift: FailOnDrift = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Compare the rows that a run computed with the training table and the run before.

    What is found is kept in DESTINATION/_drift, with a picture. Exits with 0 whether or not
    something has drifted, unless --fail-on-drift is given.
    """
    with reporting(as_json=as_json, debug=debug) as report:
        job = parse(MonitorJob, given, where="monitor")
        import pipeline
        from flows import texts

        with console_progress() as progress:
            result = pipeline.monitor(job, progress=progress)
        report(result, texts.drift(result))
        fail_if_drifted(result, wanted=fail_on_drift)


def fail_if_drifted(report: DriftReport, *, wanted: bool) -> None:
    """End with the exit code of a failure, if that is `wanted` and something has drifted."""
    if wanted and report.drifted:
        raise typer.Exit(DRIFTED)
