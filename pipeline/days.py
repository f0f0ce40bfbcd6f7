"""The files of a source that hold rows of some days, told by folders or footers; no row is read.

A file is the unit: one that holds rows of a day in the range and of others is taken whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import pyarrow as pa
import pyarrow.types as pt

from pipeline.errors import ConfigError, DataError
from pipeline.parquet import open_parquet
from pipeline.schema import FeatureSchema
from pipeline.source import Source, SourceFile

_Days = tuple[date, date]

_UNITS_PER_DAY = {"ms": 86_400 * 10**3, "us": 86_400 * 10**6, "ns": 86_400 * 10**9}


def within(
    source: Source, first: date | None, last: date | None, *, schema: FeatureSchema
) -> Source:
    """The part of `source` whose files hold rows from the day `first` to `last`, both included.

    The day of a file is that of its folders (``day=2026-11-22``, or year, month and day), or what
    its footer says of the event time, in UTC.

    Raises:
        ConfigError: if a file tells no day.
        DataError: if no file holds rows of these days.
    """
    if first is None and last is None:
        return source
    time = schema.event_time
    event_time = time.name if time is not None else None
    kept = [
        place
        for place, file in enumerate(source.files)
        if _overlap(_days(file, event_time), first or date.min, last or date.max)
    ]
    if not kept:
        raise DataError(
            f"{source.path} must hold rows from {first or 'the beginning'} to "
            f"{last or 'the end'}, found none in {len(source.files)} files; choose other days"
        )
    files = tuple(source.files[place] for place in kept)
    return replace(source, files=files, schemas=tuple(source.schemas[place] for place in kept))


def _overlap(days: _Days | None, first: date, last: date) -> bool:
    return days is not None and days[0] <= last and first <= days[1]


def _days(file: SourceFile, event_time: str | None) -> _Days | None:
    """First and last day of a file's rows; None if it has no rows with a time."""
    day = day_of(dict(file.partitions))
    if day is not None:
        return day, day
    if event_time is None:
        raise ConfigError(
            f"{file.path} must tell the days of its rows: found no folder such as day=2026-11-22, "
            "and the model has no event time; train it with --event-time, or leave the days out"
        )
    return _in_footer(file, event_time)


def day_of(partitions: Mapping[str, str | None]) -> date | None:
    """The day that folders say: an ISO date in one of them, or year, month and day.

    >>> day_of({"country": "IT", "day": "2026-11-22"})
    datetime.date(2026, 11, 22)
    >>> day_of({"year": "2026", "month": "11", "day": "02"})
    datetime.date(2026, 11, 2)
    >>> day_of({"country": "IT", "day": "02"})
    """
    texts = [text for text in partitions.values() if text is not None]
    parts = [partitions.get(name) or "" for name in ("year", "month", "day")]
    if all(part.isdecimal() for part in parts):
        texts.append(f"{parts[0]:0>4}-{parts[1]:0>2}-{parts[2]:0>2}")
    for text in texts:
        try:
            return date.fromisoformat(text)
        except ValueError:
            continue
    return None


def _in_footer(file: SourceFile, event_time: str) -> _Days | None:
    with open_parquet(file.file, columns=1) as opened:
        footer = opened.metadata
    names = [footer.schema.column(place).path for place in range(footer.num_columns)]
    if event_time not in names:
        return None  # the contract's check has something to say about that
    type_ = footer.schema.to_arrow_schema().field(event_time).type
    place, days = names.index(event_time), set[date]()
    for group in range(footer.num_row_groups):
        column = footer.row_group(group).column(place)
        found = column.statistics
        if found is not None and found.has_min_max:
            days |= {_day(found.min_raw, type_), _day(found.max_raw, type_)}
        elif found is None or found.null_count != column.num_values:
            raise ConfigError(
                f"{file.path} must tell the days of its rows: the footer says nothing of "
                f"'{event_time}'; write it with statistics, or leave the days out"
            )
    return (min(days), max(days)) if days else None


def _day(count: int, type_: pa.DataType) -> date:
    """The day of a value as Parquet stores it: days, or units of `type_`, since 1970, in UTC.

    Arrow's own values are no days without pandas where a unit is a nanosecond, and none at all
    where they are far away, which here is the first day or the last one.
    """
    days = count // _UNITS_PER_DAY[type_.unit] if pt.is_timestamp(type_) else count
    ordinal = date(1970, 1, 1).toordinal() + days
    return date.fromordinal(min(max(ordinal, date.min.toordinal()), date.max.toordinal()))
