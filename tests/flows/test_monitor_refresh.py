"""A shift that lasts: what is told night after night, and that it trains a model once."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows import monitor_refresh
from flows.jobs import DriftJob, MonitorSettings
from flows.monitor_refresh import held_back
from flows.project import drift_job, load_project
from pipeline import EmbeddingJob, MonitorJob, embed, monitor
from pipeline.drift_picture import verdict
from pipeline.drift_report import DriftReport, Streak
from pipeline.errors import ConfigError
from pipeline.lineage import Lineage

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def drifted(began: datetime) -> DriftReport:
    return DriftReport(
        format=1, destination="to", run_id="b", model="m", published=NOON.isoformat(), rows=1,
        files=1.0, drifted=True, runs_per_false_alarm=1_000,
        streak=Streak(runs=2, first="a", published=began.isoformat()),
    )  # fmt: skip


@pytest.fixture
def trained_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime | None], None]:
    """Says when the newest version was registered."""

    def at(when: datetime | None) -> None:
        known = when and Lineage(version="v" * 16, bundle="b", code="c", at=when, by="me@here")
        monkeypatch.setattr(monitor_refresh, "_newest", lambda _: known)

    return at


@pytest.mark.parametrize(
    ("trained", "held"),
    [
        (None, False),
        (NOON - timedelta(days=3), False),  # it does not know what came after it
        (NOON - timedelta(days=1), True),
        (NOON + timedelta(days=1), True),
    ],
)
def test_a_model_that_has_seen_the_drift_gets_its_time(
    project: Path, trained_at: Any, trained: datetime | None, held: bool
) -> None:
    trained_at(trained)
    reason = held_back(nightly(project), drifted(NOON - timedelta(days=2)), now=NOON)
    assert (reason is not None) is held


def test_after_the_pause_drift_trains_another(project: Path, trained_at: Any) -> None:
    began = NOON - timedelta(days=7)
    trained_at(began)
    job = nightly(project)
    reason = held_back(job, drifted(began), now=NOON - timedelta(minutes=1))
    assert reason is not None
    assert "vvvvvvvv was trained on 2026-11-15" in reason
    assert "from 2026-11-22 12:00 UTC on" in reason
    assert held_back(job, drifted(began), now=NOON) is None


def test_without_a_registry_nothing_holds_a_refresh_back(project: Path) -> None:
    assert held_back(nightly(project), drifted(NOON), now=NOON) is None


def nightly(project: Path) -> DriftJob:
    """The monitoring of a project that refreshes on drift."""
    with project.open("a") as file:
        file.write("\n[monitor]\nrefresh = true\n")
    return drift_job(project)


def test_the_pause_is_that_of_the_project_file(project: Path) -> None:
    with project.open("a") as file:
        file.write('\n[monitor]\nrefresh = true\npause = "2d"\n')
    assert drift_job(project).pause == "2d"


def test_a_pause_that_is_no_duration_is_refused(project: Path) -> None:
    with project.open("a") as file:
        file.write('\n[monitor]\npause = "often"\n')
    with pytest.raises(ConfigError, match=r"\$\.monitor\.pause"):
        load_project(project)


def test_monitoring_needs_no_more_than_embed_and_monitor(tmp_path: Path) -> None:
    from flows.deploy import deployments

    path = tmp_path / "parquet2vec.toml"
    path.write_text(
        '[embed]\nbundle = "model"\nsource = "features"\ndestination = "to"\n[monitor]\n'
        '[schedule.embed]\ncron = "0 3 * * *"\n'
    )
    (found,) = deployments(load_project(path), path)
    assert found.parameters["drift"]["destination"].endswith("to")
    assert found.parameters["drift"]["refresh"] is None


def broken(table: Callable[..., pa.Table], seed: int) -> pa.Table:
    rows = table(500, seed=seed, first=1_000 * seed)
    return rows.set_column(3, "distance", pa.nulls(500, pa.float32()))


def test_drift_that_lasts_is_told_with_its_first_run(
    bundle: Path, table: Callable[..., pa.Table], folder_of: Any, tmp_path: Path
) -> None:
    source, to = folder_of(tmp_path / "table", table(500, seed=3)), str(tmp_path / "to")
    told = []
    for night, rows in enumerate([None, broken(table, 4), broken(table, 5), table(500, seed=6)]):
        if rows is not None:
            pq.write_table(rows, source / f"night-{night}.parquet")
        embed(EmbeddingJob(bundle=str(bundle), source=str(source), destination=to))
        told.append(monitor(MonitorJob(destination=to)))
    assert [one.streak.runs if one.streak else 0 for one in told] == [0, 1, 2, 0]
    assert told[2].streak is not None
    assert told[2].streak.first == told[1].run_id
    assert "in a row" not in verdict(told[1])
    assert f"2 runs in a row since {told[1].published[:10]}" in verdict(told[2])
    again = monitor(MonitorJob(destination=to, run=told[2].run_id))
    assert again.streak == told[2].streak


@pytest.mark.flows
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("prefect")
def test_drift_trains_a_model_once_while_it_lasts(
    project: Path, table: Callable[..., pa.Table], folder_of: Any, tmp_path: Path
) -> None:
    from flows.project import refresh_job
    from flows.runners import FlowSettings
    from flows.runs import run_embed, run_monitor, run_refresh
    from pipeline.registries import open_registry

    source = folder_of(tmp_path / "features", table(800))
    known = project.read_text().split('source = "')[1].split('"')[0]
    text = project.read_text().replace(known, str(source))
    project.write_text(f"{text}\n[monitor]\nrefresh = true\n")
    first, job = refresh_job(project), drift_job(project)
    run_refresh(first, FlowSettings())
    registry = open_registry(first.models)
    pq.write_table(broken(table, 4), source / "night.parquet")
    version = run_embed(first.embed, FlowSettings()).run_id
    # The run itself: a model that took over has embedded anew.
    job = job.model_copy(update={"run": version})
    found = run_monitor(job, FlowSettings())
    assert (found.drift.followed, len(registry.versions())) == ("a refresh was started", 2)
    assert found.refresh is not None
    pq.write_table(broken(table, 5), source / "next.parquet")
    again = run_monitor(job, FlowSettings())
    assert again.refresh is None
    assert str(again.drift.followed).startswith("refresh not started: model ")
    assert monitor(MonitorJob(destination=job.destination, run=version)).followed == (
        again.drift.followed
    )
    assert len(registry.versions()) == 2
    later = run_monitor(job.model_copy(update={"pause": "1s"}), FlowSettings())
    assert later.refresh is not None
    assert len(registry.versions()) == 3


def test_the_default_pause_is_a_week() -> None:
    assert MonitorSettings().pause == "7d"
