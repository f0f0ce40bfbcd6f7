"""`init`: the first project file of a table, from a look at its first rows."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from flows.console import two_columns
from flows.inspection import SAMPLED_ROWS
from flows.jobs import InitJob
from flows.project import load_project
from flows.project_text import SHOWN, features, project_text
from pipeline import storage
from pipeline.aliases import resolved
from pipeline.bundle import MANIFEST, Bundle
from pipeline.config import Config
from pipeline.errors import ConfigError, DataError
from pipeline.files import holds
from pipeline.guesses import Guesses, guess
from pipeline.shards import read_batches
from pipeline.source import open_source


class InitResult(Config):
    """A project file, and what was guessed for it."""

    path: str
    key: tuple[str, ...]
    event_time: str | None
    key_candidates: tuple[str, ...] = Field(
        description="Columns of text that never repeats, where no key was guessed."
    )
    label_candidates: tuple[str, ...]
    ignored: tuple[str, ...] = Field(description="Columns that the file leaves out, and says why.")
    features: int
    first_command: str = Field(description="What makes the model, or uses the one that is there.")


def initialise(job: InitJob) -> InitResult:
    """Write the project file `job.out`, which runs as it is.

    Raises:
        ConfigError: if the file is there already, or both kinds of model are asked for.
        DataError, SchemaError: if the table cannot be read, or has no feature.
    """
    if job.bundle is not None and job.models is not None:
        raise ConfigError(
            "one of --bundle and --models is required, found both; a bundle stays as it is, models "
            "are renewed by `flow refresh`"
        )
    out = Path(job.out)
    if out.exists():
        raise ConfigError(f"{out} must be a new file, found one; edit it or name another by --out")
    found = look_at(job.source)
    has_model = job.bundle is not None and holds(resolved(job.bundle), MANIFEST)
    if has_model:
        found = _as_the_model_says(found, str(job.bundle))
    out.parent.mkdir(parents=True, exist_ok=True)
    storage.write_file(out, project_text(job, found).encode())
    load_project(out)
    return InitResult(
        path=str(out),
        key=found.key,
        event_time=found.event_time,
        key_candidates=() if found.key else found.key_candidates[:SHOWN],
        label_candidates=found.labels,
        ignored=found.set_aside,
        features=len(features(found)),
        first_command=f"parquet2vec {_first(job, has_model=has_model)} {out}",
    )


def _first(job: InitJob, *, has_model: bool) -> str:
    if job.bundle is None:
        return "flow refresh"
    # A bundle is trained on a disk: one of a store comes from elsewhere.
    return "flow embed" if has_model or "://" in job.bundle else "train --config"


def text(result: InitResult) -> str:
    """What `init` says."""
    perhaps = f", perhaps {' or '.join(result.key_candidates)}" if result.key_candidates else ""
    rows = [
        ("wrote", f"{result.path}, {result.features} features"),
        ("key", ", ".join(result.key) or f"none was guessed{perhaps}: say it in [train]"),
        ("event time", result.event_time or "none was guessed"),
        ("labels", ", ".join(result.label_candidates) or "none was guessed"),
        *([("ignored", f"{', '.join(result.ignored)}: see [train]")] if result.ignored else []),
        ("next", f"read it, then: {result.first_command}"),
    ]
    return two_columns(rows)


def look_at(source: str) -> Guesses:
    """What the columns of a table may be for, from its first rows.

    Raises:
        DataError: if there is nothing to guess from.
    """
    table = open_source(source)
    names = table.arrow_schema.names
    sample = next(read_batches(table, columns=names, rows_per_batch=SAMPLED_ROWS), None)
    if sample is None:
        raise DataError(
            f"{source} must have rows to guess from, found none; give a table with rows"
        )
    return guess(table.arrow_schema, sample)


def _as_the_model_says(found: Guesses, bundle: str) -> Guesses:
    """Keys and event time of a trained model instead of the guesses."""
    schema = Bundle.open(bundle).manifest.feature_schema
    time = schema.event_time
    return found.model_copy(
        update={
            "key": tuple(column.name for column in schema.keys),
            "event_time": time.name if time else None,
        }
    )
