"""Only the files with rows of some days: told by folders or footers, taken whole, taken over."""

import datetime
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipeline
from pipeline.config import EmbeddingJob, parse
from pipeline.days import within
from pipeline.errors import ConfigError, DataError
from pipeline.schema import Column, FeatureSchema
from pipeline.source import open_source

DAY = datetime.date


def schema(event_time: str | None) -> FeatureSchema:
    time = Column(name=str(event_time), kind="timestamp", role="event_time", type="timestamp[us]")
    return FeatureSchema(columns=(time,) if event_time else ())


def kept(folder: Path, first: str | None, last: str | None, event_time: str | None) -> list[str]:
    found = within(
        open_source(folder),
        DAY.fromisoformat(first) if first else None,
        DAY.fromisoformat(last) if last else None,
        schema=schema(event_time),
    )
    return [file.relative for file in found.files]


@pytest.fixture
def partitioned(tmp_path: Path) -> Path:
    for day in (1, 2, 3):
        folder = tmp_path / f"day=2026-11-0{day}"
        folder.mkdir()
        pq.write_table(pa.table({"x": [1.0]}), folder / "a.parquet")
    return tmp_path


@pytest.mark.parametrize(
    ("first", "last", "days"),
    [
        ("2026-11-02", "2026-11-02", [2]),
        ("2026-11-02", "2026-11-09", [2, 3]),
        ("2026-11-02", None, [2, 3]),
        (None, "2026-11-01", [1]),
        (None, None, [1, 2, 3]),
    ],
)
def test_both_days_belong_to_the_range(
    partitioned: Path, first: str | None, last: str | None, days: list[int]
) -> None:
    wanted = [f"day=2026-11-0{day}/a.parquet" for day in days]
    assert kept(partitioned, first, last, None) == wanted


def test_days_without_rows_are_refused(partitioned: Path) -> None:
    with pytest.raises(DataError, match=r"from 2020-01-01 to 2020-01-02, found none in 3 files"):
        kept(partitioned, "2020-01-01", "2020-01-02", None)


def times(*texts: str | None, zone: str | None = None) -> pa.Array:
    values = [datetime.datetime.fromisoformat(text) if text else None for text in texts]
    return pa.array(values, pa.timestamp("us", zone))


ZONED = pa.array([datetime.datetime(2026, 11, 2, 23, tzinfo=datetime.UTC)]).cast(
    pa.timestamp("us", "Europe/Berlin")
)
NANOS = pa.array([1_793_577_600_123_456_789]).cast(pa.timestamp("ns"))  # 2026-11-02
TIMES = [
    (times("2026-11-02T00:00"), True),
    (times("2026-11-02T23:59:59.999999", None), True),
    (times("2026-11-01T23:59:59.999999"), False),
    (times("2026-11-03T00:00"), False),
    (times("2026-11-01T00:00", "2026-11-03T00:00"), True),  # taken whole
    (times(None, None), False),
    (NANOS, True),
    (times("1969-12-31T23:59:59", "2026-11-02T00:00"), True),
    (pa.array([-1]).cast(pa.timestamp("s")), False),
    (pa.array([-(2**62), 2**62]).cast(pa.timestamp("us")), True),  # no years of a calendar
    (ZONED, True),  # the day of the instant in UTC
    (pa.array([DAY(2026, 11, 2)]), True),
    (pa.array([DAY(2026, 11, 3)]), False),
]


@pytest.mark.parametrize(("at", "taken"), TIMES)
def test_the_footer_tells_the_days_of_the_event_time(
    tmp_path: Path, at: pa.Array, taken: bool
) -> None:
    pq.write_table(pa.table({"at": at, "x": [1.0] * len(at)}), tmp_path / "a.parquet")
    if taken:
        assert kept(tmp_path, "2026-11-02", "2026-11-02", "at") == ["a.parquet"]
    else:
        with pytest.raises(DataError):
            kept(tmp_path, "2026-11-02", "2026-11-02", "at")


def test_nanoseconds_have_days_where_pandas_is_not_installed(tmp_path: Path) -> None:
    pq.write_table(pa.table({"at": NANOS, "x": [1.0]}), tmp_path / "a.parquet")
    code = (
        "import sys; sys.modules['pandas'] = None\n"
        "import datetime\n"
        "from pipeline.days import within\n"
        "from pipeline.schema import FeatureSchema\n"
        "from pipeline.source import open_source\n"
        "day = datetime.date(2026, 11, 2)\n"
        f"schema = FeatureSchema.model_validate_json({schema('at').model_dump_json()!r})\n"
        f"print(within(open_source({str(tmp_path)!r}), day, day, schema=schema).rows)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.stdout.strip(), ended.stderr) == ("1", "")


def test_a_footer_that_says_nothing_is_refused_and_no_file_is_left_out(tmp_path: Path) -> None:
    table = pa.table({"at": times("2026-11-02T00:00"), "x": [1.0]})
    pq.write_table(table, tmp_path / "a.parquet", write_statistics=False)
    with pytest.raises(ConfigError, match="says nothing of 'at'"):
        kept(tmp_path, "2026-11-02", None, "at")


def test_a_table_without_days_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1.0]}), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="must tell the days"):
        kept(tmp_path, "2026-11-02", None, None)


def test_the_last_day_must_not_come_before_the_first() -> None:
    values = {"bundle": "b", "source": "s", "destination": "d"}
    days = {"first_day": "2026-11-02", "last_day": "2026-11-01"}
    with pytest.raises(ConfigError, match="2026-11-02 or a later day is required"):
        parse(EmbeddingJob, values | days)


def embed(bundle: Any, source: Path, to: Path, **options: Any) -> Any:
    return pipeline.embed(
        EmbeddingJob(bundle=str(bundle.path), source=str(source), destination=str(to), **options)
    )


@pytest.fixture
def dated(make_table: Callable[..., pa.Table], tmp_path: Path) -> Path:
    """Three files of `at`, a row a minute: two of 1 January 1970, one of the 2nd."""
    folder = tmp_path / "table"
    folder.mkdir()
    table = make_table(3_000)
    for name, first, rows in (("a", 0, 700), ("b", 700, 740), ("c", 1_440, 1_440)):
        pq.write_table(table.slice(first, rows), folder / f"{name}.parquet")
    return folder


def parts(report: Any) -> tuple[int, int]:
    return report.computed, report.reused


def test_more_days_add_to_what_is_there(bundle: Any, dated: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    first = embed(bundle, dated, to, first_day="1970-01-01", last_day="1970-01-01")
    assert (first.rows, parts(first)) == (1_440, (2, 0))
    assert not embed(bundle, dated, to, first_day="1970-01-01", last_day="1970-01-01").published
    both = embed(bundle, dated, to, first_day="1970-01-01", last_day="1970-01-02")
    assert (both.rows, parts(both)) == (2_880, (1, 2))


def test_prepared_parts_are_taken_over_and_the_table_is_that_of_a_run_from_scratch(
    bundle: Any, dated: Path, tmp_path: Path
) -> None:
    days = {"first_day": "1970-01-01", "last_day": "1970-01-01"}
    embed(bundle, dated, tmp_path / "prepared", **days)
    report = embed(bundle, dated, tmp_path / "to", prepared=str(tmp_path / "prepared"))
    assert parts(report) == (1, 2)
    scratch = embed(bundle, dated, tmp_path / "scratch")
    assert scratch.run_id == report.run_id
    for file in (tmp_path / "scratch" / "current").glob("*.parquet"):
        assert (tmp_path / "to" / "current" / file.name).read_bytes() == file.read_bytes()


def test_a_damaged_prepared_part_is_made_again(bundle: Any, dated: Path, tmp_path: Path) -> None:
    embed(bundle, dated, tmp_path / "prepared")
    part = sorted((tmp_path / "prepared" / "current").glob("*.parquet"))[0]
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    report = embed(bundle, dated, tmp_path / "to", prepared=str(tmp_path / "prepared"))
    assert parts(report) == (1, 2)


def test_nothing_is_prepared_where_nothing_is(bundle: Any, dated: Path, tmp_path: Path) -> None:
    report = embed(bundle, dated, tmp_path / "to", prepared=str(tmp_path / "nowhere"))
    assert parts(report) == (3, 0)
    assert not (tmp_path / "nowhere").exists()


def test_a_killed_run_of_days_goes_on_with_its_parts(
    bundle: Any, dated: Path, tmp_path: Path
) -> None:
    job = EmbeddingJob(
        bundle=str(bundle.path),
        source=str(dated),
        destination=str(tmp_path / "to"),
        last_day=DAY(1970, 1, 1),
    )

    def dies(function: Any, shards: Any) -> Any:
        yield function(shards[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.embed(job, map_shards=dies)
    report = pipeline.embed(job)
    assert (report.resumed, report.computed) == (1, 1)
