"""The first project file of a table: what was guessed, and every field there is, explained.

The explanations are those of the models that the file is read with, so that none is written twice.
"""

from __future__ import annotations

import json
import os
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic.fields import FieldInfo

from flows.console import two_columns
from flows.inspection import SAMPLED_ROWS
from flows.jobs import InitJob, MonitorSettings, PublishSettings, RefreshSettings
from flows.project import load_project
from flows.runners import FlowSettings
from flows.schedule import FlowSchedule, Schedule
from pipeline import storage
from pipeline.bundle import MANIFEST, Bundle
from pipeline.config import Config, EmbeddingJob
from pipeline.errors import ConfigError, DataError
from pipeline.files import holds
from pipeline.guesses import Guesses, guess
from pipeline.schema import Column
from pipeline.shards import read_batches
from pipeline.source import open_source
from training.spec import NetworkConfig, TrainingConfig, TrainingJob

_WIDTH = 88
_SHOWN = 3
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_DAILY = re.compile(r"(\d+) (\d+) \* \* \*")


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
    has_model = job.bundle is not None and holds(job.bundle, MANIFEST)
    if has_model:
        found = _as_the_model_says(found, str(job.bundle))
    out.parent.mkdir(parents=True, exist_ok=True)
    storage.write_file(out, project_text(job, found).encode())
    load_project(out)
    verb = "flow embed" if has_model else "flow refresh" if job.bundle is None else "train --config"
    return InitResult(
        path=str(out),
        key=found.key,
        event_time=found.event_time,
        key_candidates=() if found.key else found.key_candidates[:_SHOWN],
        label_candidates=found.labels,
        ignored=found.set_aside,
        features=len(_features(found)),
        first_command=f"parquet2vec {verb} {out}",
    )


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


def _features(found: Guesses) -> list[str]:
    special = (*found.key, found.event_time)
    return [column.name for column in found.columns.features if column.name not in special]


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


def project_text(job: InitJob, found: Guesses) -> str:
    """The project file of `job` as text; every table and every field of it is explained."""
    return "\n".join([*_lines(job, found), ""])


def _lines(job: InitJob, found: Guesses) -> Iterator[str]:
    folder = Path(job.out).absolute().parent
    source, destination = _from(folder, job.source), _from(folder, job.dest)
    models = None if job.bundle is not None else _from(folder, job.models or "models")
    bundle = _from(folder, job.bundle) if job.bundle is not None else None
    yield from _text(
        f"How {source} becomes vectors, and when. Made by `parquet2vec init` from the first rows: "
        "what it guessed is for you to correct. Lines that begin with # show what is taken when "
        "they are left out. Relative paths count from this file's folder."
    )
    learns = bundle is None or "://" not in bundle
    if learns:
        yield from ("", *_text("What `train` does: learn a model from the table."), "[train]")
        trained: dict[str, Any] = {"source": source, "key": list(found.key)}
        trained |= {"event_time": found.event_time} if found.event_time else {}
        trained |= {"ignore": list(found.set_aside)} if found.set_aside else {}
        trained |= {"out": bundle} if bundle is not None else {}
        yield from _fields(TrainingJob, trained, notes=_notes(found, models))
        yield from _columns(found)
    yield from ("", *_text("What `embed` does: a vector for every row, published at once."))
    yield "[embed]"
    embedded = {"source": source, "destination": destination}
    embedded |= {"bundle": bundle} if bundle is not None else {}
    production = {"bundle": f"left out: the model in production, of {models}"} if models else {}
    yield from _fields(EmbeddingJob, embedded, notes=production)
    yield from _refresh(models)
    yield from ("", *_text("Drift: looked for after each scheduled embedding."), "[monitor]")
    yield from _fields(MonitorSettings, {})
    yield from _publish()
    yield from ("", *_text("When the flows run, while `parquet2vec serve` does."), "[schedule]")
    yield from _fields(Schedule, {"timezone": job.timezone})
    yield from ("", *_text("Embed: only new and changed files are computed."), "[schedule.embed]")
    yield from _fields(FlowSchedule, {"cron": job.cron})
    if models is not None:
        yield from ("", *_text("Refresh: train, promote if not worse, embed."))
        yield "[schedule.refresh]"
        yield from _fields(FlowSchedule, {"cron": weekly(job.cron)})
    yield from ("", *_text("Where the flows run."), "[flow]")
    yield from _fields(FlowSettings, {})
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
    yield from _text("A feature store that is told of each new version; take the # away to use it.")
    yield "#   [publish]"
    for line in _fields(PublishSettings, {"feast": "feature_repo"}):
        yield f"#   {line}"


def _seldom_needed() -> Iterator[str]:
    yield from ("", *_text("Seldom needed: budget and optimiser of the training."))
    yield "[train.training]"
    yield from _fields(TrainingConfig, {})
    yield from ("", *_text("Seldom needed: choices instead of the recipe's own."))
    yield "[train.network]"
    yield from _fields(NetworkConfig, {})


def _refresh(models: str | None) -> Iterator[str]:
    if models is not None:
        yield from ("", *_text("What `flow refresh` adds: a model that is renewed."), "[refresh]")
        yield from _fields(RefreshSettings, {"models": models})


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
        notes["label"] = f"may be one: {_toml(list(found.labels))}"
    aside = {
        "have the name of an output, rename them to use them": found.called_like_outputs,
        "hold only nulls in the rows that were looked at": found.empty,
        "are text that hardly repeats, perhaps ignore them": found.unrepeated,
    }
    if said := [f"{_toml(list(names))} {why}" for why, names in aside.items() if names]:
        notes["ignore"] = "; ".join(said)
    return notes


def _perhaps(found: Guesses) -> str:
    """The columns that a reader should look at for a key."""
    return f", perhaps {' or '.join(found.key_candidates[:_SHOWN])}" if found.key_candidates else ""


def _columns(found: Guesses) -> Iterator[str]:
    """Every column with its kind, and how to say another."""
    yield ""
    yield from _text(
        "The columns as they were understood. A table of its own changes kind or role of a column. "
        "Kinds: number, category, boolean, timestamp, vector, image. Roles: feature, key, "
        "event_time, label, condition, ignore."
    )
    width = max(len(_toml(column.name)) for column in found.columns.columns)
    for column in found.columns.columns:
        yield f"#   {_toml(column.name):<{width}}  {_understood(column, found)}"
    example = (found.names or tuple(_features(found)))[0]
    yield from (
        "# For example:",
        f"#   [train.columns.{_key(example)}]",
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


def _fields(
    model: type[Config], said: Mapping[str, Any], *, notes: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Every field of `model`: its description, then its value, or its default behind a #."""
    notes = notes or {}
    # What is said stands first.
    for name, field in sorted(model.model_fields.items(), key=lambda item: item[0] not in said):
        if _is_table(field):
            continue
        note = f" ({notes[name]})" if name in notes else ""
        yield from _text(f"{(field.description or '').rstrip('.')}{note}.")
        if name in said and said[name] not in ([], None):
            yield f"{name} = {_toml(said[name])}"
        else:
            yield f"# {name} = {_toml(_default(field))}".rstrip()


def _is_table(field: FieldInfo) -> bool:
    """Whether a field has a table of its own."""
    default = field.get_default(call_default_factory=True) if not field.is_required() else None
    return isinstance(default, Config | dict) or "FlowSchedule" in str(field.annotation)


def _default(field: FieldInfo) -> Any:
    return None if field.is_required() else field.get_default(call_default_factory=True)


def _from(folder: Path, path: str) -> str:
    """`path`, given from the working folder, as `folder`'s project file says it."""
    if "://" in path or Path(path).is_absolute():
        return path
    return os.path.relpath(Path(path).absolute(), folder)


def _text(text: str) -> list[str]:
    """A comment, wrapped between words."""
    return textwrap.wrap(
        text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False
    )


def _toml(value: Any) -> str:
    """A value as TOML says it, whose strings are JSON's; nothing for None, which TOML has not."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name)
