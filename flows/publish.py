"""Published vectors made known to a feature store: a Feast feature view over `current`."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from flows.feast_definition import OURS, Definition, Feature
from flows.feast_repository import FeastRepository
from flows.jobs import PublishJob
from flows.results import PublishResult, current_of
from pipeline import storage
from pipeline.config import parse_seconds
from pipeline.errors import ConfigError, DataError, DestinationError, PublishError, SchemaError
from pipeline.locations import S3Location, locate
from pipeline.published import PublishedTable, published_table, times
from pipeline.publishing import PartReport

# What Feast's online stores take as a key, by how Arrow writes a column's type.
_KEY_TYPES = {
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16"), "INT32"),
    **dict.fromkeys(("int64", "uint32"), "INT64"),
    **dict.fromkeys(("string", "large_string"), "STRING"),
    "binary": "BYTES",
}


def publish(job: PublishJob) -> PublishResult:
    """Define a feature view over `current` in a Feast repository; if asked, load its online store.

    Given again it does the same again, and does not load a version that is online already.

    Raises:
        ConfigError: if Feast is not installed, or a name in the repository belongs to another.
        SchemaError, DataError: if Feast cannot take the table: no event time, nulls in keys.
        DestinationError: if nothing is published.
        LockedError, PublishError: if the repository or its stores do not do their part.
    """
    started = time.monotonic()
    place, folder = locate(job.destination), locate(job.feast)
    if isinstance(place, S3Location) or isinstance(folder, S3Location):
        raise ConfigError(
            f"a destination for Feast must be on a disk, found {place}; Feast reads the folder "
            "`current`, and a store has none"
        )
    table = published_table(place.absolute())
    event_time, keys = _roles(table)
    repository = FeastRepository.open(folder.absolute())
    name = job.name or _default_name(place)
    definition = Definition(
        name=name,
        path=current_of(table.destination.path),
        event_time=event_time,
        entities=tuple(repository.entity(key, _key_type(table, key)) for key in keys),
        features=_features(table),
        ttl_seconds=parse_seconds(job.ttl) if job.ttl else 0.0,
        tags=OURS | {"model": table.manifest.model, "run": table.manifest.run_id},
    )
    with storage.lock(repository.path / ".parquet2vec.lock"):
        online, since = _bring(repository, definition, table, materialize=job.materialize)
    return PublishResult(
        repository=str(repository.path),
        project=repository.project,
        view=name,
        definition=str(repository.file(name)),
        destination=table.destination.path,
        run_id=table.manifest.run_id,
        model=table.manifest.model,
        join_keys=keys,
        event_time=event_time,
        features=tuple(feature.name for feature in definition.features),
        dim=table.dim,
        online_run=online.get("online_run"),
        loaded_from=since.isoformat() if since else None,
        notes=_notes(table, event_time),
        seconds=time.monotonic() - started,
    )


def _bring(
    repository: FeastRepository,
    definition: Definition,
    table: PublishedTable,
    *,
    materialize: bool,
) -> tuple[dict[str, str], datetime | None]:
    """Register, and load if asked: what is online then, and the first event time loaded now."""
    view = repository.view(definition.name, path=definition.path)
    told = {name: view.tags[name] for name in _ONLINE if name in view.tags} if view else {}
    now = {"online_model": table.manifest.model, "online_run": table.manifest.run_id}
    if not materialize or told == now:
        repository.apply(replace(definition, tags=definition.tags | told))
        return told, None
    # Killed from here on, the next run finds nothing said of the online store and loads all of it.
    repository.apply(definition)
    if view is not None and told.get("online_model") != table.manifest.model:
        # No reader may get vectors of two models from one view: for a moment it gets none.
        repository.empty(view)
    span = times(table, definition.event_time, _to_load(table, told))
    end = times(table, definition.event_time, table.manifest.files).last
    if span.first is not None and end is not None:
        repository.load(definition.name, span.first, end)
    if published_table(table.destination.path).manifest.run_id != table.manifest.run_id:
        raise PublishError(
            f"{table.destination.path} must stay at version {table.manifest.run_id} while it is "
            "loaded, found another one current now; publish to Feast again"
        )
    repository.apply(replace(definition, tags=definition.tags | now))
    return now, span.first


_ONLINE = ("online_model", "online_run")


def _to_load(table: PublishedTable, told: dict[str, str]) -> Sequence[PartReport]:
    """The parts whose rows are not online: the new ones where all others still are as they were.

    Feast replaces what is online by what it loads, older or not, so that an event time may only be
    loaded together with all that follow it.
    """
    try:
        before = table.destination.manifest(told["online_run"]).files
    except (KeyError, DestinationError):
        return table.manifest.files
    works = {part.work for part in before}
    if not works <= {part.work for part in table.manifest.files}:
        return table.manifest.files  # rows may be gone, and older ones count again
    return [part for part in table.manifest.files if part.work not in works]


def _roles(table: PublishedTable) -> tuple[str, tuple[str, ...]]:
    """The event time and the keys among the columns of `table`."""
    path = table.destination.path
    found = [name for name, type_ in table.passed.items() if type_.startswith("timestamp")]
    dates = [name for name, type_ in table.passed.items() if type_.startswith("date")]
    if len(found) != 1:
        hint = f" and dates ({', '.join(dates)}), which Feast does not take as times"
        raise SchemaError(
            f"{path} must have one timestamp column for Feast, the time from which a row holds, "
            f"found {', '.join(found) or 'none'}{hint if dates else ''}; train and embed with "
            "--event-time COLUMN, a column of timestamps in the source"
        )
    keys = tuple(name for name in table.passed if name != found[0])
    if not keys:
        raise SchemaError(
            f"{path} must have a key for Feast, found none; train and embed with --key COLUMN"
        )
    nulls = times(table, found[0], table.manifest.files).nulls
    if table.null_keys or nulls:
        # Feast reads keys through pandas, which rounds integers beside nulls: other rows' vectors.
        raise DataError(
            f"{path} must have a key and an event time in every row for Feast, found "
            f"{table.null_keys:,} null cells of keys and {nulls:,} of '{found[0]}'; leave such "
            "rows out of the source"
        )
    return found[0], keys


def _notes(table: PublishedTable, event_time: str) -> tuple[str, ...]:
    if "tz=" in table.passed[event_time] or len(table.manifest.files) == 1:
        return ()
    failing = "Feast's local store fails when a part has no row that is asked for"
    return (
        f"event time '{event_time}' has no time zone: {failing} (feast issue 6817), not in UTC",
    )


def _key_type(table: PublishedTable, key: str) -> str:
    type_ = table.passed[key]
    if type_ not in _KEY_TYPES:
        raise SchemaError(
            f"key '{key}' must be text, bytes or an integer of at most 63 bits for Feast, found "
            f"{type_}; add such a column to the source, and train and embed with it as the key"
        )
    return _KEY_TYPES[type_]


def _features(table: PublishedTable) -> tuple[Feature, ...]:
    score = (Feature("reconstruction_error"),) if table.scores else ()
    if table.wide:
        return (*(Feature(f"embedding_{place}") for place in range(table.dim)), *score)
    return (Feature("embedding", table.dim), *score)


def _default_name(place: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9_]", "_", place.absolute().name)
    if not re.match(r"[A-Za-z_]", name) or len(name) > 63:
        raise ConfigError(f"a feature view must have a name, found no use in {place}; give --name")
    return name
