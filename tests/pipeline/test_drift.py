"""Drift: found within one run where it was planted, and no alarm where there is none."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Bundle, DriftReport, EmbeddingJob, MonitorJob, embed, monitor, verify
from pipeline.chance import Chance, Spread
from pipeline.config import RetentionJob
from pipeline.destinations import open_destination
from pipeline.distances import ks, nulls, psi, unknown
from pipeline.drift import SMALLEST, _measures
from pipeline.errors import DestinationError
from pipeline.profile import RUN_PROFILE, Gauge
from pipeline.progress import Silent
from pipeline.retention import gc

ROWS = 3_000


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for one alarm in a thousand runs, in a fifth of the time."""
    monkeypatch.setattr("pipeline.drift.Chance", partial(Chance, draws=2_000))


def day(seed: int, *, rows: int = ROWS) -> pa.Table:
    """A day's file: every day differs a little from the others, in all its rows."""
    random = np.random.default_rng(seed)
    amount, shares = random.normal(0, 0.1), np.exp(random.normal(0, 0.1, 5))
    countries = np.array(["it", "fr", "de", "es", "pt"], object)
    shares *= [0.4, 0.3, 0.15, 0.1, 0.05]
    return pa.table(
        {
            "id": seed * 10**6 + np.arange(rows),
            "amount": np.exp(random.normal(amount, 1, rows)),
            "age": random.normal(40, 10, rows).round(),
            "country": pa.array(countries[random.choice(5, rows, p=shares / shares.sum())]),
            "joined": pa.array(random.normal(5, 2, rows), mask=random.random(rows) < 0.02),
            "hour": pa.array(
                (1.7e9 + random.integers(0, 20 * 86_400, rows)).astype(np.int64),
                pa.timestamp("s"),
            ),
        }
    )


def shifted(table: pa.Table) -> pa.Table:
    place = table.column_names.index("age")
    return table.set_column(place, "age", pa.array(table["age"].to_numpy() + 5))


def with_a_new_category(table: pa.Table) -> pa.Table:
    place = table.column_names.index("country")
    values = table["country"].to_pylist()
    values[::20] = ["xx"] * len(values[::20])
    return table.set_column(place, "country", pa.array(values))


def with_a_broken_join(table: pa.Table) -> pa.Table:
    place = table.column_names.index("joined")
    return table.set_column(place, "joined", pa.nulls(table.num_rows, pa.float64()))


class Nightly:
    """A table that gets a file a day, each embedded and monitored."""

    def __init__(self, bundle: Bundle, folder: Path) -> None:
        self.source, self.destination = folder / "table", folder / "to"
        self.source.mkdir()
        self._bundle, self._day = bundle, 100

    def run(self, table: pa.Table | None = None) -> DriftReport:
        self._day += 1
        rows = day(self._day) if table is None else table
        pq.write_table(rows, self.source / f"day-{self._day}.parquet")
        self.embed()
        return monitor(MonitorJob(destination=str(self.destination)))

    def embed(self) -> None:
        embed(
            EmbeddingJob(
                bundle=str(self._bundle.path),
                source=str(self.source),
                destination=str(self.destination),
                grace="0s",
            )
        )


@pytest.fixture(scope="module")
def days() -> list[pa.Table]:
    return [day(seed, rows=1_000) for seed in range(20)]


@pytest.fixture
def nightly(
    bundle_of: Callable[..., Bundle],
    days: list[pa.Table],
    tmp_path: Path,
    profiled: Callable[..., Bundle],
) -> Nightly:
    bundle = bundle_of(pa.concat_tables(days), keys=["id"])
    model = profiled(bundle, tmp_path / "model", days)
    return Nightly(model, tmp_path)


def test_twenty_days_like_those_of_training_raise_no_alarm(nightly: Nightly) -> None:
    reports = [nightly.run() for _ in range(20)]
    assert [report.drifted for report in reports] == [False] * 20
    assert all(report.rows == ROWS for report in reports)
    assert reports[-1].history == 19


@pytest.mark.parametrize(
    ("spoil", "column", "measure"),
    [
        (shifted, "age", "KS"),
        (with_a_new_category, "country", "unknown"),
        (with_a_broken_join, "joined", "nulls"),
    ],
)
def test_planted_drift_is_found_in_the_run_that_brings_it(
    nightly: Nightly, spoil: Callable[[pa.Table], pa.Table], column: str, measure: str
) -> None:
    for _ in range(2):
        assert not nightly.run().drifted
    report = nightly.run(spoil(day(7_777)))
    assert report.drifted
    moved = {one.column: one for one in report.columns if one.drifted}
    assert moved.keys() - {f"embedding_{i}" for i in range(4)} - {"embedding"} == {column}
    assert {f.measure for f in moved[column].findings if f.drifted} >= {measure}
    assert {f.against for f in moved[column].findings if f.drifted} == {"training", "previous run"}
    after = nightly.run()
    assert not after.drifted
    assert after.previous not in (None, report.run_id)


def test_the_same_run_is_told_the_same_way_again(nightly: Nightly) -> None:
    nightly.run()
    first = nightly.run()
    assert monitor(MonitorJob(destination=str(nightly.destination))) == first
    assert monitor(MonitorJob(destination=first.destination, run=first.run_id[:9])) == first


def test_what_was_found_outlives_the_versions(nightly: Nightly) -> None:
    reports = [nightly.run() for _ in range(3)]
    gc(RetentionJob(destination=str(nightly.destination), keep=1, grace="0s"))
    assert open_destination(nightly.destination).run_ids() == [reports[-1].run_id]
    names = open_destination(nightly.destination).drift_files()
    assert names == sorted(f"{r.run_id}.{kind}" for r in reports for kind in ("json", "svg"))
    assert nightly.run().history == 3


def test_old_notes_go(nightly: Nightly, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.monitoring.KEPT_NOTES", 2)
    reports = [nightly.run() for _ in range(3)]
    kept = {name.partition(".")[0] for name in open_destination(nightly.destination).drift_files()}
    assert kept == {report.run_id for report in reports[1:]}


def test_a_run_that_computed_nothing_has_nothing_to_compare(nightly: Nightly) -> None:
    nightly.run()
    nightly.run()
    min(nightly.source.iterdir()).unlink()
    nightly.embed()
    report = monitor(MonitorJob(destination=str(nightly.destination)))
    assert (report.drifted, report.rows, report.columns) == (False, 0, ())
    assert "no rows" in str(report.note)


def test_a_damaged_profile_is_refused(nightly: Nightly) -> None:
    nightly.run()
    path = nightly.destination / "current" / RUN_PROFILE
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DestinationError, match="as it was sealed"):
        monitor(MonitorJob(destination=str(nightly.destination)))


@pytest.mark.parametrize("damage", ['"drifted":true ', '"drifted":fals', ""])
def test_a_damaged_note_is_told_by_verify_and_not_counted(nightly: Nightly, damage: str) -> None:
    nightly.run()
    report = nightly.run()
    path = nightly.destination / "_drift" / f"{report.run_id}.json"
    told = path.read_text()
    path.write_text(told.replace('"drifted":false', damage, 1) if damage else "")
    with pytest.raises(DestinationError, match=f"_drift/{path.name}, which"):
        verify(nightly.destination)
    assert nightly.run().history == 1
    path.write_text(told)
    verify(nightly.destination)


def test_a_note_that_is_half_written_is_none(nightly: Nightly) -> None:
    report = nightly.run()
    whole = (nightly.destination / "_drift" / f"{report.run_id}.json").read_bytes()
    for name in (f"{report.run_id}.json.0123.tmp", "0123.svg.4567.tmp"):
        (nightly.destination / "_drift" / name).write_bytes(whole[:100])
    verify(nightly.destination)
    assert nightly.run().history == 1


def test_the_picture_shows_what_moved_and_nothing_of_it_runs(nightly: Nightly) -> None:
    nightly.run()
    table = with_a_new_category(day(7_777))
    report = nightly.run(table.rename_columns(table.column_names))
    assert report.picture is not None
    drawn = Path(report.picture).read_text(encoding="utf-8")
    assert drawn.startswith("<svg")
    assert "country" in drawn
    assert "prefers-color-scheme:dark" in drawn
    assert "<script" not in drawn
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")


def test_distances_are_those_of_the_books() -> None:
    now, before = np.array([0.0, 0.0, 30.0, 70.0]), np.array([0.0, 0.0, 50.0, 50.0])
    expected = (0.3 - 0.5) * np.log(0.3 / 0.5) + (0.7 - 0.5) * np.log(0.7 / 0.5)
    assert psi(now, before) == pytest.approx(expected, rel=0.02)
    assert ks(now, before) == pytest.approx(0.2)
    assert nulls(np.array([5.0, 5.0]), np.array([0.0, 10.0])) == pytest.approx(0.5)
    assert unknown(np.array([0.0, 1.0, 9.0]), np.array([0.0, 0.0, 10.0])) == pytest.approx(0.1)


def test_a_saturated_distance_does_not_grow_with_the_rows() -> None:
    few, many = (psi(np.array([n, 0.0]), np.array([0.0, n])) for n in (100.0, 10_000.0))
    assert few == pytest.approx(many)


def counts(random: np.random.Generator, *, effect: float, blocks: int, rows: int) -> np.ndarray:
    score = np.linspace(-1, 1, 10)
    shares = np.exp(effect * random.normal(size=(blocks, 1)) * score)
    return np.array([random.multinomial(rows, one / one.sum()) for one in shares], float)


@pytest.mark.parametrize(("effect", "least", "most"), [(0.0, 0.0, 0.5), (0.3, 0.7, 1.8)])
def test_noise_of_few_rows_is_not_taken_for_a_difference_of_days(
    effect: float, least: float, most: float
) -> None:
    random = np.random.default_rng(0)
    true = counts(random, effect=0.3, blocks=4_000, rows=10**6) / 10**6
    known = Spread.of_counts(counts(random, effect=effect, blocks=30, rows=500), ordered=True)
    found = np.square(known.directions).sum() / 29
    assert least <= found / true.var(axis=0).sum() <= most


def test_draws_vary_as_days_do() -> None:
    random = np.random.default_rng(0)
    spread = Spread.of_counts(counts(random, effect=0.3, blocks=30, rows=500), ordered=True)
    moves = Chance(seed=0).moves(spread, files=1, reference=10**9)
    assert moves.var(axis=0).sum() == pytest.approx(
        np.square(spread.directions).sum() / 29, rel=0.2
    )


def test_a_change_too_small_to_matter_is_no_drift(nightly: Nightly) -> None:
    report = nightly.run()
    for column in report.columns:
        for finding in column.findings:
            assert finding.threshold >= SMALLEST[finding.measure]


def test_of_text_that_never_repeats_only_the_nulls_are_compared() -> None:
    """Every note of a new day is new to the model, as it was on every day of training."""
    notes = Gauge(name="notes", column="notes", kind="category")
    city = Gauge(name="city", column="city", kind="category", codes=(3,), labels=("Rome",))
    assert set(_measures(notes)) == {"nulls"}
    assert set(_measures(city)) == {"PSI", "nulls", "unknown"}


def test_monitor_tells_how_many_columns_it_has_compared(nightly: Nightly) -> None:
    class Told(Silent):
        total, done = 0, 0

        def start(self, what: str, total: int | None) -> None:
            self.total += total or 0

        def advance(self, n: int, **figures: float) -> None:
            self.done += n

    nightly.run()
    told = Told()
    monitor(MonitorJob(destination=str(nightly.destination)), progress=told)
    assert told.done == told.total > 0
