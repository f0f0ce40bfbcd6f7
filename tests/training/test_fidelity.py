"""Drawn rows beside real ones: what is alike is told as alike, and what is not is seen."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.bundle import Bundle, Manifest
from pipeline.errors import DataError
from pipeline.schema_inference import infer
from training.distributions import ks
from training.fidelity import Likeness, likeness
from training.report.generated import html, verdict, write_generated
from training.two_sample import two_sample

ROWS = 1_200


def make_table(rows: int, *, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    z = random.normal(size=rows)
    return pa.table(
        {
            "one": pa.array(z),
            "two": pa.array(2 * z + 0.1 * random.normal(size=rows), mask=random.random(rows) < 0.1),
            "kind": pa.array(np.where(z > 0.5, "<script>", "low").astype(object)),
            "yes": pa.array(z > 0),
        }
    )


def shuffled(table: pa.Table) -> pa.Table:
    random = np.random.default_rng(1)
    return pa.table(
        {n: table[n].take(pa.array(random.permutation(len(table)))) for n in table.column_names}
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of no models at all, real rows, and three drawn files."""
    path = tmp_path_factory.mktemp("likeness")
    real = make_table(2 * ROWS, seed=0)
    Bundle.write(path / "model", manifest=manifest_of(real), files={})
    same = make_table(ROWS, seed=1)
    nulls = same.set_column(0, "one", pa.nulls(ROWS, pa.float64()))
    tables = {"real": real, "same": same, "shuffled": shuffled(same), "nulls": nulls}
    for name, table in tables.items():
        pq.write_table(table, path / f"{name}.parquet")
    return path


def manifest_of(table: pa.Table) -> Manifest:
    return Manifest(
        format=1,
        feature_schema=infer(table.schema, table),
        dim=1,
        recipe="plain",
        latent_names=("embedding_0",),
        widest_layer=1,
        training_data={"fingerprint": "another table"},
        split={"rule": "position", "columns": [], "thresholds": [], "seed": 0},
        versions={},
        parity={},
    )


def of(folder: Path, name: str, **options: object) -> Likeness:
    drawn, real = (str(folder / f"{one}.parquet") for one in (name, "real"))
    return likeness(str(folder / "model"), drawn, real, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def same(folder: Path) -> Likeness:
    return of(folder, "same")


@pytest.fixture(scope="module")
def apart(folder: Path) -> Likeness:
    return of(folder, "shuffled")


def test_rows_of_the_same_kind_cannot_be_told_apart(same: Likeness) -> None:
    test = same.auc("generated rows", "trees")
    assert test.low < 0.55
    assert verdict(same)[0] == "embedding"


def test_shuffled_columns_are_told_apart_by_trees_and_by_correlations(apart: Likeness) -> None:
    assert apart.auc("generated rows", "trees").low > 0.9
    assert verdict(apart)[1] == "Drawn rows are no better than shuffled columns"
    assert apart.correlation_gap > 0.5


def test_every_column_has_its_distance(same: Likeness) -> None:
    measures = {column.name: column.measure for column in same.columns}
    assert measures == {
        "one": "KS", "two": "KS", "kind": "total variation", "yes": "total variation"
    }  # fmt: skip
    assert max(column.distance for column in same.columns) < 0.08


def test_nulls_are_counted(folder: Path) -> None:
    column = of(folder, "nulls").columns[0]
    assert (column.nulls_real, column.nulls_generated, column.distance) == (0.0, 1.0, 1.0)


def test_under_a_condition_only_real_rows_that_meet_it_count(folder: Path, tmp_path: Path) -> None:
    drawn = make_table(ROWS, seed=2)
    met = drawn.filter(pa.array(drawn["yes"].to_pylist()))
    pq.write_table(met, tmp_path / "met.parquet")
    found = likeness(
        str(folder / "model"), str(tmp_path / "met.parquet"), str(folder / "real.parquet"),
        where=["yes=true"],
    )  # fmt: skip
    column = next(column for column in found.columns if column.name == "yes")
    assert [(bar.name, bar.real, bar.generated) for bar in column.bars] == [("true", 1.0, 1.0)]


def test_too_few_rows_are_refused(folder: Path, tmp_path: Path) -> None:
    pq.write_table(make_table(50, seed=3), tmp_path / "few.parquet")
    with pytest.raises(DataError, match="100 real rows"):
        likeness(str(folder / "model"), str(tmp_path / "few.parquet"), str(folder / "real.parquet"))


def test_the_page_is_self_contained_and_escapes_values(same: Likeness, tmp_path: Path) -> None:
    page = write_generated(tmp_path / "report" / "page.html", same).read_text()
    assert "&lt;script&gt;" in page
    assert not any(word in page for word in ("<script", "http://", "https://", "<link", "@import"))
    assert "prefers-color-scheme:dark" in page


def test_the_page_says_what_the_figures_mean(apart: Likeness) -> None:
    page = html(apart.model_copy(update={"where": ("yes=true",)}))
    assert "50 % is guessing" in page
    assert "yes=true" in page


def test_the_distance_of_disjoint_samples_is_one() -> None:
    assert ks(np.arange(5.0), np.arange(5.0) + 10) == 1.0


def test_rows_in_an_order_of_time_are_not_told_from_their_own_kind() -> None:
    random = np.random.default_rng(0)
    drift = np.linspace(2, -2, 2_000)[:, None]
    rows = (drift + 0.5 * random.normal(size=(2_000, 3))).astype(np.float32)
    for other in (random.permutation(rows), random.permuted(rows, axis=0)):
        found = two_sample(rows[:2_000], other, "columns shuffled", "linear", seed=0)
        assert 0.44 < found.auc < 0.56


def test_columns_of_their_own_are_all_one_to_a_line() -> None:
    random = np.random.default_rng(0)
    shared = random.normal(size=(2_000, 1))
    real, same = ((random.normal(size=(2_000, 4)) + one).astype(np.float32)
                  for one in (shared, random.permutation(shared)))  # fmt: skip
    apart = random.permuted(same, axis=0)
    line, tree = (
        two_sample(real, apart, "columns shuffled", c, seed=0) for c in ("linear", "trees")
    )
    alike = two_sample(real, same, "real training rows", "linear", seed=0)
    assert 0.46 < line.auc < 0.54
    assert 0.46 < alike.auc < 0.54
    assert tree.low > 0.6


def test_fewer_drawn_rows_are_compared_with_real_ones_of_all_times(tmp_path: Path) -> None:
    times = np.sort(np.random.default_rng(0).normal(size=4_000))
    real = pa.table({"one": times, "two": np.random.default_rng(1).normal(size=4_000)})
    drawn = real.take(pa.array(np.random.default_rng(2).permutation(4_000)[:300]))
    Bundle.write(tmp_path / "model", manifest=manifest_of(real), files={})
    for name, table in (("real", real), ("drawn", drawn)):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    found = likeness(*(str(tmp_path / name) for name in ("model", "drawn.parquet", "real.parquet")))
    assert found.columns[0].distance < 0.15


def test_a_shift_that_a_line_sees_is_told_by_both_classifiers() -> None:
    random = np.random.default_rng(0)
    real = random.normal(size=(400, 2)).astype(np.float32)
    moved = (random.normal(size=(400, 2)) + 2).astype(np.float32)
    for classifier in ("trees", "linear"):
        found = two_sample(real, moved, "generated rows", classifier, seed=0)  # type: ignore[arg-type]
        assert found.low > 0.9
