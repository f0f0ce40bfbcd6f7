"""What a run leaves on Prefect's page: progress while it works, then a table and the report."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.logging import get_run_logger

from flows.progress import Tally
from flows.redaction import without_secrets
from flows.results import Promotion, PublishResult, TrainingResult, current_of
from pipeline.destinations import open_destination
from pipeline.drift_picture import told, verdict, worst
from pipeline.drift_report import DriftReport
from pipeline.errors import printable
from pipeline.job import JobReport
from pipeline.monitoring import drift_picture
from pipeline.publishing import PartReport

SECONDS_BETWEEN_UPDATES = 5.0
MOST_PARTS = 200
MOST_NAMES = 20


class RunProgress:
    """A `Progress` that moves a progress artifact, and logs, every few seconds.

    Calls come from one thread at a time, except `advance` while batches are mapped: an update that
    is under way makes the others return at once.
    """

    def __init__(self, *, every_seconds: float = SECONDS_BETWEEN_UPDATES) -> None:
        self._every_seconds = every_seconds
        self._logger = get_run_logger()
        self._tasks: list[tuple[UUID, Tally]] = []
        self._next_update = 0.0

    def start(self, what: str, total: int | None) -> None:
        """Create the task's artifact."""
        artifact = cast("UUID", create_progress_artifact(progress=0.0, description=what))
        self._tasks.append((artifact, Tally(what, total)))
        self._next_update = time.monotonic() + self._every_seconds

    def advance(self, n: int, **figures: float) -> None:
        """Count; move the artifact if it last moved long enough ago."""
        if not self._tasks:
            return
        artifact, tally = self._tasks[-1]
        tally.advance(n, figures)
        if time.monotonic() >= self._next_update:
            self._next_update = time.monotonic() + self._every_seconds
            self._show(artifact, tally, percent=tally.percent)

    def finish(self) -> None:
        """Move the artifact to its end."""
        if self._tasks:
            artifact, tally = self._tasks.pop()
            self._show(artifact, tally, percent=100.0)

    def _show(self, artifact: UUID, tally: Tally, *, percent: float) -> None:
        if tally.done == tally.told:
            return
        tally.told = tally.done
        self._logger.info(tally.text())
        update_progress_artifact(artifact, progress=percent, description=tally.text())


def show_training(result: TrainingResult) -> None:
    """A table of the linear probe, and the report: as a link, and its verdict in words."""
    if result.probe is not None:
        table = [
            {
                "representation": name,
                result.probe.metric: round(score, 4),
                "fit seconds": round(result.probe.fit_seconds[name], 3),
            }
            for name, score in result.probe.scores.items()
        ]
        create_table_artifact(table=table, key="parquet2vec-probes", description=result.bundle)
    create_markdown_artifact(
        markdown=f"## {result.recipe}, {result.dim} numbers\n\n{result.verdict}\n\n"
        f"Bundle `{result.bundle}`, report `{result.report}`.\n",
        key="parquet2vec-verdict",
    )
    create_link_artifact(
        link=Path(result.report).absolute().as_uri(), link_text="report", key="parquet2vec-report"
    )


def show_embedding(result: JobReport) -> None:
    """A table of what was published, and one of its parts."""
    told = result.model_dump(mode="json")
    for name, value in told.items():
        # Ten thousand names would make a page that no browser opens.
        if isinstance(value, list) and len(value) > MOST_NAMES:
            told[name] = [*value[:MOST_NAMES], f"and {len(value) - MOST_NAMES:,} more"]
    create_table_artifact(
        table=[told], key="parquet2vec-embedding", description=current_of(result.destination)
    )
    manifest = open_destination(result.destination).manifest(result.run_id)
    create_table_artifact(
        table=parts_table(manifest.files),
        key="parquet2vec-parts",
        description=f"{len(manifest.files):,} parts of version {manifest.run_id}",
    )


def parts_table(parts: Sequence[PartReport]) -> list[dict[str, Any]]:
    """A row for each part, and one for all those beyond `MOST_PARTS`."""
    shown = [
        {
            "part": part.name,
            "source": printable(without_secrets(part.source)),
            "row groups": len(part.row_groups),
            "rows": part.rows,
            "MB": round(part.bytes / 1e6, 2),
        }
        for part in parts[:MOST_PARTS]
    ]
    rest = parts[MOST_PARTS:]
    if rest:
        shown.append(
            {
                "part": f"and {len(rest):,} more",
                "source": "",
                "row groups": sum(len(part.row_groups) for part in rest),
                "rows": sum(part.rows for part in rest),
                "MB": round(sum(part.bytes for part in rest) / 1e6, 2),
            }
        )
    return shown


def show_drift(report: DriftReport) -> None:
    """A table of what moved, and the picture."""
    create_table_artifact(
        table=[
            {
                "column": column.name,
                "drifted": column.drifted,
                "farthest": told(worst(column)),
                "against": worst(column).against,
                "excess": column.excess,
            }
            for column in report.columns
        ],
        key="parquet2vec-drift",
        description=_said(report),
    )
    drawn = drift_picture(report.destination, report.run_id)
    if drawn is not None:
        create_markdown_artifact(
            markdown=f"## {_said(report)}\n\n![drift](data:image/svg+xml;base64,"
            f"{base64.b64encode(drawn).decode()})\n",
            key="parquet2vec-drift-picture",
        )


def _said(report: DriftReport) -> str:
    return "; ".join([verdict(report), *([report.followed] if report.followed else [])])


def show_publication(result: PublishResult) -> None:
    """A table of what a feature store knows now."""
    create_table_artifact(
        table=[result.model_dump(mode="json")],
        key="parquet2vec-feature-view",
        description=f"{result.view} of {result.repository}",
    )


def show_promotion(promotion: Promotion) -> None:
    """A table of the gate's checks, and the decision."""
    create_table_artifact(
        table=[
            {"check": check.name, "passed": check.passed, "found": check.found}
            for check in promotion.checks
        ],
        key="parquet2vec-promotion",
        description=promotion.reason,
    )
