"""The first project file of a table as text: what was guessed, every field there is, explained."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows.commented_toml import comment, fields, in_toml, key
from flows.jobs import InitJob, MonitorSettings, PublishSettings, RefreshSettings
from flows.runners import FlowSettings
from flows.schedule import FlowSchedule, Schedule
from pipeline.config import EmbeddingJob
from pipeline.guesses import Guesses
from pipeline.schema import Column
from training.spec import NetworkConfig, TrainingConfig, TrainingJob

# How many columns are named where any of several may be meant.
SHOWN = 3
_DAILY = re.compile(r"(\d+) (\d+) \* \* \*")


def project_text(job: InitJob, found: Guesses) -> str:
    """The project file of `job` as text; every table and every field of it is explained."""
    return "\n".join([*_lines(job, found), ""])


def features(found: Guesses) -> list[str]:
    """Names of the columns that a model would learn."""
    special = (*found.key, found.event_time)
    return [column.name for column in found.columns.features if column.name not in special]


def _lines(job: InitJob, found: Guesses) -> Iterator[str]:
    folder = Path(job.out).absolute().parent
    source, destination = _from(folder, job.source), _from(folder, job.dest)
    models = None if job.bundle is not None else _from(folder, job.models or "models")
    bundle = _from(folder, job.bundle) if job.bundle is not None else None
    yield from comment(
        f"How {source} becomes vectors, and when. Made by `parquet2vec init` from the first rows: "
        "what it guessed is for you to correct. Lines that begin with # show what is taken when "
        "they are left out. Relative paths count from this file's folder."
    )
    learns = bundle is None or "://" not in bundle
    if learns:
        yield from ("", *comment("What `train` does: learn a model from the table."), "[train]")
        trained: dict[str, Any] = {"source": source, "key": list(found.key)}
        trained |= {"event_time": found.event_time} if found.event_time else {}
        trained |= {"ignore": list(found.set_aside)} if found.set_aside else {}
        trained |= {"out": bundle} if bundle is not None else {}
        yield from fields(TrainingJob, trained, notes=_notes(found, models))
        yield from _columns(found)
    yield from ("", *comment("What `embed` does: a vector for every row, published at once."))
    yield "[embed]"
    embedded = {"source": source, "destination": destination}
    embedded |= {"bundle": bundle} if bundle is not None else {}
    production = {"bundle": f"left out: the model in production, of {models}"} if models else {}
    yield from fields(EmbeddingJob, embedded, notes=production)
    yield from _refresh(models)
    yield from ("", *comment("Drift: looked for after each scheduled embedding."), "[monitor]")
    yield from fields(MonitorSettings, {})
    yield from _publish()
    yield from ("", *comment("When the flows run, while `parquet2vec serve` does."), "[schedule]")
    yield from fields(Schedule, {"timezone": job.timezone})
    yield from ("", *comment("Embed: only new and changed files are computed."), "[schedule.embed]")
    yield from fields(FlowSchedule, {"cron": job.cron})
    if models is not None:
        yield from ("", *comment("Refresh: train, promote if not worse, embed."))
        yield "[schedule.refresh]"
        yield from fields(FlowSchedule, {"cron": weekly(job.cron)})
    yield from ("", *comment("Where the flows run."), "[flow]")
    yield from fields(FlowSettings, {})
    if learns:
        yield from _seldom_needed()


def weekly(daily: str) -> str:
    """A cron line for Sundays, two hours behind a daily one, so that both do not meet.

    >>> weekly("30 3 * * *"), weekly("30 23 * * *"), weekly("*/5 * * * *")
    ('30 5 * * 0', '30 1 * * 0', '0 5 * * 0')
    """
    match = _DAILY.fullmatch(daily)
    return f"{match[1]} {(int(match[2]) + 2) % 24} * * 0" if match else "0 5 * * 0"


def _publish() -> Iterator[str]:
    """A table that cannot stand as it is, for it asks for a feature store."""
    yield ""
    yield from comment(
        "A feature store that is told of each new version; take the # away to use it."
    )
    yield "#   [publish]"
    for line in fields(PublishSettings, {"feast": "feature_repo"}):
        yield f"#   {line}"


def _seldom_needed() -> Iterator[str]:
    yield from ("", *comment("Seldom needed: budget and optimiser of the training."))
    yield "[train.training]"
    yield from fields(TrainingConfig, {})
    yield from ("", *comment("Seldom needed: choices instead of the recipe's own."))
    yield "[train.network]"
    yield from fields(NetworkConfig, {})


def _refresh(models: str | None) -> Iterator[str]:
    if models is not None:
        yield from ("", *comment("What `flow refresh` adds: a model that is renewed."), "[refresh]")
        yield from fields(RefreshSettings, {"models": models})


def _notes(found: Guesses, models: str | None) -> dict[str, str]:
    """What init knows of a field beside its description."""
    notes = {}
    if models is not None:
        notes["out"] = "'model' beside this file when left out; a refresh has versions of its own"
    notes["key"] = (
        "guessed: its values differ in the rows that were looked at"
        if found.key
        else f"none was guessed{_perhaps(found)}; rows without a key cannot be joined"
    )
    notes["event_time"] = "guessed by type and name" if found.event_time else "none was guessed"
    if found.labels:
        notes["label"] = f"may be one: {in_toml(list(found.labels))}"
    aside = {
        "have the name of an output, rename them to use them": found.called_like_outputs,
        "hold only nulls in the rows that were looked at": found.empty,
        "are text that hardly repeats, perhaps ignore them": found.unrepeated,
    }
    if said := [f"{in_toml(list(names))} {why}" for why, names in aside.items() if names]:
        notes["ignore"] = "; ".join(said)
    return notes


def _perhaps(found: Guesses) -> str:
    """The columns that a reader should look at for a key."""
    return f", perhaps {' or '.join(found.key_candidates[:SHOWN])}" if found.key_candidates else ""


def _columns(found: Guesses) -> Iterator[str]:
    """Every column with its kind, and how to say another."""
    yield ""
    yield from comment(
        "The columns as they were understood. A table of its own changes kind or role of a column. "
        "Kinds: number, category, boolean, timestamp, vector, image. Roles: feature, key, "
        "event_time, label, condition, ignore."
    )
    width = max(len(in_toml(column.name)) for column in found.columns.columns)
    for column in found.columns.columns:
        yield f"#   {in_toml(column.name):<{width}}  {_understood(column, found)}"
    example = (found.names or tuple(features(found)))[0]
    yield from (
        "# For example:",
        f"#   [train.columns.{key(example)}]",
        f'#   {"kind" if found.names else "role"} = "{"category" if found.names else "ignore"}"',
    )


def _understood(column: Column, found: Guesses) -> str:
    if column.name in found.key:
        return "key"
    if column.name == found.event_time:
        return "event time"
    if column.name in found.called_like_outputs:
        return "ignored: it has the name of an output"
    if column.name in found.empty:
        return "ignored: only nulls"
    if column.role == "ignore":
        text = column.type in ("string", "large_string", "string_view")
        return f"ignored: {'dates as text are' if text else f'{column.type} is'} no feature"
    few = ", a category if it names things" if column.name in found.names else ""
    picture = ", an image if it is pixels" if column.name in found.pictures else ""
    return f"{column.kind} ({column.type}){few}{picture}"


def _from(folder: Path, path: str) -> str:
    """`path`, given from the working folder, as `folder`'s project file says it."""
    if "://" in path or Path(path).is_absolute():
        return path
    return os.path.relpath(Path(path).absolute(), folder)
