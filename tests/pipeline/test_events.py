"""What a run tells of itself: events with its run id in each, and how its version was made."""

import json
import logging
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.bundle import Bundle
from pipeline.config import EmbeddingJob
from pipeline.destinations import open_destination
from pipeline.errors import DataError
from pipeline.events import LOGGER, about, facts_of, tell
from pipeline.job import JobReport, embed
from pipeline.past import MOST, past_of
from pipeline.publishing import MANIFEST, PastVersion, VersionManifest, seal_manifest

Caplog = pytest.LogCaptureFixture


@pytest.fixture
def told(caplog: Caplog) -> Caplog:
    caplog.set_level(logging.INFO, logger=LOGGER)
    return caplog


def events(told: Caplog) -> list[str]:
    return [record.event for record in told.records]  # type: ignore[attr-defined]


def run(
    bundle: Bundle, source: Path, to: Path, *, flow_run: str | None = None, **options: object
) -> JobReport:
    paths = {"bundle": str(bundle.path), "source": str(source), "destination": str(to)}
    return embed(EmbeddingJob(**paths, threads=2, **options), flow_run=flow_run)  # type: ignore[arg-type]


def test_every_line_of_a_run_has_its_run_id_and_destination(
    bundle: Bundle, source: Path, tmp_path: Path, told: Caplog
) -> None:
    report = run(bundle, source, tmp_path / "to")
    assert events(told)[:2] == ["run started", "run planned"]
    assert events(told)[-2:] == ["version published", "run finished"]
    for record in told.records:
        assert record.facts["run_id"] == report.run_id  # type: ignore[attr-defined]
        assert record.facts["destination"] == str(tmp_path / "to")  # type: ignore[attr-defined]


def test_a_part_is_told_with_file_rows_and_seconds(
    bundle: Bundle, source: Path, tmp_path: Path, told: Caplog
) -> None:
    report = run(bundle, source, tmp_path / "to")
    parts = [r.facts for r in told.records if r.event == "part finished"]  # type: ignore[attr-defined]
    assert len(parts) == report.parts
    assert sum(part["rows"] for part in parts) == report.rows
    assert all(Path(part["file"]).is_file() and part["seconds"] >= 0 for part in parts)


def test_nobody_who_does_not_ask_is_told(
    bundle: Bundle, source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(bundle, source, tmp_path / "to")
    assert capfd.readouterr() == ("", "")


def test_an_error_carries_the_facts_of_where_it_arose() -> None:
    with pytest.raises(DataError) as raised, about(run_id="a"), about(part="b"):
        raise DataError("bad")
    assert facts_of(raised.value) == {"run_id": "a", "part": "b"}
    assert facts_of(ValueError()) == {}


def test_facts_end_with_their_block_and_stay_in_their_thread(told: Caplog) -> None:
    with about(run_id="a"):
        other = threading.Thread(target=tell, args=("elsewhere",))
        other.start()
        other.join()
    tell("after")
    assert [record.facts for record in told.records] == [{}, {}]  # type: ignore[attr-defined]


def test_a_version_says_how_it_was_made(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    first = run(bundle, source, tmp_path / "to", flow_run="f1")
    made = open_destination(tmp_path / "to").manifest(first.run_id).made
    assert made is not None
    assert (made.computed.parts, made.computed.rows) == (first.parts, first.rows)
    assert (made.reused.parts, made.resumed.parts) == (0, 0)
    assert made.flow_run == "f1"
    assert "@" in made.by
    assert 0 < made.seconds < 300
    published = open_destination(tmp_path / "to").manifest(first.run_id).published
    assert datetime.fromisoformat(made.started) < datetime.fromisoformat(published)


def test_what_was_taken_over_is_told_apart(
    bundle: Bundle, source: Path, make_table: Callable[..., pa.Table], tmp_path: Path
) -> None:
    run(bundle, source, tmp_path / "to")
    pq.write_table(make_table(500, seed=9), source / "day-3.parquet")
    second = run(bundle, source, tmp_path / "to")
    made = open_destination(tmp_path / "to").manifest(second.run_id).made
    assert made is not None
    assert (made.computed.rows, made.reused.rows, made.resumed.rows) == (500, 3_000, 0)


def test_the_same_work_by_somebody_else_has_the_same_name_and_bytes(
    bundle: Bundle, source: Path, tmp_path: Path
) -> None:
    one = run(bundle, source, tmp_path / "a", flow_run="f1")
    two = run(bundle, source, tmp_path / "b")
    assert one.run_id == two.run_id
    parts = [
        {path.name: path.read_bytes() for path in (tmp_path / to / "current").glob("*.parquet")}
        for to in "ab"
    ]
    assert parts[0] == parts[1]


def test_a_version_of_before_opens(bundle: Bundle, source: Path, tmp_path: Path) -> None:
    report = run(bundle, source, tmp_path / "to")
    destination = open_destination(tmp_path / "to")
    old = json.loads(seal_manifest(destination.manifest(report.run_id)))
    del old["made"], old["seal"]
    path = tmp_path / "to" / "versions" / report.run_id / MANIFEST
    path.chmod(0o644)
    path.write_text(json.dumps(old))
    assert destination.manifest(report.run_id).made is None


def test_a_version_remembers_those_before_it_when_they_are_deleted(
    bundle: Bundle, source: Path, make_table: Callable[..., pa.Table], tmp_path: Path
) -> None:
    runs = []
    for day in range(3, 6):
        pq.write_table(make_table(50, seed=day), source / f"day-{day}.parquet")
        runs.append(run(bundle, source, tmp_path / "to", keep=1, grace="0s"))
    destination = open_destination(tmp_path / "to")
    assert destination.run_ids() == [runs[2].run_id]
    past = destination.manifest(runs[2].run_id).past
    assert [one.run_id for one in past] == [runs[1].run_id, runs[0].run_id]
    assert [one.rows for one in past] == [3_100, 3_050]
    assert past[0].made is not None
    assert past[0].made.reused.parts == 4


def version(day: int, *, past: tuple[PastVersion, ...] = ()) -> VersionManifest:
    return VersionManifest(
        format=1, run_id=f"r{day}", model="m", rows=day, options={}, source="s", inputs=(),
        files=(), versions={}, published=f"2026-{day:05d}", past=past,
    )  # fmt: skip


def test_versions_are_remembered_once_and_the_oldest_forgotten() -> None:
    one, two = version(1), version(2, past=past_of([version(1)]))
    assert [known.run_id for known in past_of([one, two])] == ["r2", "r1"]
    for day in range(3, MOST + 5):
        two = version(day, past=past_of([two]))
    assert len(two.past) == MOST
    assert two.past[-1].run_id == "r4"
    assert len(two.model_dump_json(indent=1)) < 150_000
