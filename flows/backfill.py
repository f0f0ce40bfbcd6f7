"""`flow backfill`: the vectors of some days, in a destination of their own.

An embedding publishes a complete table, so that a range of days is a table beside it, which other
runs may take parts from (docs/adr/0023). It holds no lock of the nightly run's destination.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.project import load_project, required
from pipeline.config import EmbeddingJob, parse

_SUFFIX = ".backfill"


def backfill_job(path: str | Path, *, first_day: str, last_day: str, **given: Any) -> EmbeddingJob:
    """The [embed] of the project file at `path`, for the files with rows of these days.

    `given` are fields of the job that are said on the command line, with paths as they count there.

    Raises:
        ConfigError: if there is no [embed], or a day is none.
    """
    embed = required(load_project(path).embed, "embed", path)
    values = embed.model_dump() | {"first_day": first_day, "last_day": last_day}
    values["destination"] = f"{embed.destination.rstrip('/')}{_SUFFIX}"
    return parse(EmbeddingJob, values | given, where="backfill")
