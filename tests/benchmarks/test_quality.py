"""What `benchmarks/quality.py` claims follows from its figures."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from quality import needed, units, urgency
from quality_claims import agreement, best_rival, lead, mean_lead, over_seeds, tally
from quality_few import FEW_PROBES, draw, few_labels, wanted
from quality_measure import REPRESENTATIONS, Unit, measure
from quality_probes import PROBES
from quality_report import write_report
from quality_tables import Facts, Table, find_tables
from sklearn.linear_model import LogisticRegression

from training.probes import answer
from training.rows import Target


def lines(*means, spread=0.01, resamples=200):
    """Scores of seeds with these means, [seeds, 1 + resamples]; noise is common to all calls."""
    noise = np.random.default_rng(0).normal(0, spread, resamples)
    return np.array([[mean, *(mean + noise)] for mean in means])


def test_noise_that_both_share_does_not_hide_a_lead():
    found = lead(lines(0.9, 0.9), lines(0.88))
    assert found.verdict == "ahead"
    assert found.points == pytest.approx(2.0)
    assert found.high - found.low < 1e-6


def test_a_lead_that_depends_on_the_seed_is_level():
    assert lead(lines(0.95, 0.85), lines(0.88)).verdict == "level"


def test_behind_is_ahead_turned_round():
    assert lead(lines(0.88), lines(0.9)).verdict == "behind"


def test_resamples_draw_seeds_and_the_first_line_does_not():
    found = over_seeds(np.array([[0.0] * 101, [1.0] * 101]))
    assert found[0] == 0.5
    assert set(found[1:]) == {0.0, 0.5, 1.0}


def test_the_mean_lead_weighs_tables_alike():
    pairs = [(lines(0.9), lines(0.8)), (lines(0.5), lines(0.5))]
    assert mean_lead(pairs).points == pytest.approx(5.0)


def test_ahead_of_the_hardest_rival_is_ahead_of_all():
    rivals = {"a": lines(0.7), "b": lines(0.95), "c": lines(0.8)}
    assert best_rival(lines(0.9), rivals)[0] == "b"
    assert tally([best_rival(lines(0.9), rivals)[1]])["behind"] == 1


def record(winner, **scores):
    return {"winner": winner, "scores": scores}


def test_an_agreement_tells_what_the_choice_without_a_label_costs():
    found = agreement(record("b", a=0.1, b=0.3, c=0.2), record("c", a=0.8, b=0.85, c=0.9))
    assert (found.chosen, found.best, found.lost) == ("b", "c", 5.0)
    assert found.correlation == 0.5


def test_one_candidate_agrees_with_nothing():
    assert agreement({"winner": "a"}, {"winner": "a"}) is None


def facts(**more):
    given = {"task": "classes", "classes": 3, "raw_seconds": 0.1, "raw_columns": 12}
    rows = {"rows": 3_000, "train_rows": 2_000, "test_rows": 500, "width": 10}
    return Facts(**(given | rows | more))


def test_no_fit_is_wider_than_the_prepared_table():
    assert facts(width=10).widths == [2, 4, 8]
    assert facts(width=100).widths == [4, 8, 16, 32]
    assert facts(width=10).target_dim == 8


def test_claims_are_measured_before_the_rest_and_seed_by_seed():
    plan = units(facts(width=100), [4, 8, 16, 32], [0, 1], list(REPRESENTATIONS))
    plan.sort(key=lambda unit: urgency(facts(width=100), unit))
    assert {unit.representation for unit in plan[:5]} == {"PCA", "raw"}
    first = plan[5:11]
    assert {unit.seed for unit in first} == {0}
    assert {unit.width for unit in first} <= needed(facts(width=100))
    assert len(plan) == len(set(plan))


def goal(rows=400):
    label = np.repeat([0, 1, 2], [rows // 2, rows // 4, rows // 4])
    return Target("classes", ("a", "b", "c"), label, label[::4])


def test_few_labels_are_a_share_of_the_whole_table_in_each_class():
    counts = wanted(goal(), all_rows=4_000)
    assert counts.tolist() == [20, 10, 10]
    rows = draw(goal(), counts, seed=0)
    assert np.bincount(goal().train[rows]).tolist() == [20, 10, 10]
    assert not np.array_equal(rows, draw(goal(), counts, seed=1))


def test_classes_with_too_few_labels_are_left_out():
    codes = np.zeros((400, 2), np.float32)
    assert few_labels(codes, codes[::4], goal(), all_rows=400, resamples=3) == {}


def test_the_tuned_probe_of_few_labels_takes_the_penalty_that_they_ask_for():
    random, label = np.random.default_rng(0), np.arange(60) % 2
    rows = random.normal(size=(60, 40)).astype(np.float32)
    found = {}
    for told in (0.5, 6.0):
        rows[:, 0] += told * label
        model = FEW_PROBES["tuned"].build("two classes", 2, 0).fit(rows, label)
        found[told] = model[-1].C_
    assert found[0.5] < 0.1 <= found[6.0]


@pytest.mark.parametrize(("columns", "penalty"), [(8, 1.0), (32, 1.0), (128, 0.25)])
def test_the_numbers_of_a_wide_code_share_what_the_prior_allows_a_narrow_one(columns, penalty):
    random, label = np.random.default_rng(0), np.arange(60) % 2
    rows = random.normal(size=(60, columns)).astype(np.float32) + label[:, None] * 0.3
    scaled = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    wanted = LogisticRegression(C=penalty, max_iter=300).fit(scaled, label)
    shared = FEW_PROBES["shared"].build("two classes", 2, 0).fit(rows, label)
    assert shared[-1].coef_ * (penalty**0.5) == pytest.approx(wanted.coef_, abs=1e-3)


def test_few_labels_are_scored_for_the_table_and_its_resamples():
    codes = np.eye(3, dtype=np.float32)[goal().train]
    probes = {"linear": FEW_PROBES["linear"]}
    found = few_labels(codes, codes[::4], goal(), all_rows=4_000, resamples=3, probes=probes)
    assert found == {"linear": [1.0] * 4}


def test_few_labels_of_a_narrow_table_are_judged_by_more_numbers_than_it_has_columns():
    assert (facts(width=10).few_dim, facts(width=100).few_dim) == (128, 16)
    plan = units(facts(width=10), [4], [0, 1], ["unlabelled", "PCA"])
    assert [unit for unit in plan if unit.width == 128] == [
        Unit("unlabelled", 128, 0),
        Unit("unlabelled", 128, 1),
    ]
    assert urgency(facts(width=10), Unit("unlabelled", 128, 0))[0] == 1


@pytest.mark.parametrize("name", list(PROBES))
def test_every_probe_answers_every_task(name):
    random = np.random.default_rng(0)
    rows = random.normal(size=(500, 3)).astype(np.float32)
    for task, label in (
        ("two classes", (rows[:, 0] > 0).astype(int)),
        ("classes", np.digitize(rows[:, 0], [-0.5, 0.5])),
        ("numbers", rows[:, 0].astype(float)),
    ):
        given = {"task": task, "classes": len(np.unique(label)) if task != "numbers" else 0}
        told = answer(PROBES[name], rows, label, rows, **given).predicted
        assert np.corrcoef(told, label)[0, 1] > 0.2


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    for part, rows in (("train", 1_500), ("test", 300)):
        numbers = random.normal(size=(rows, 5))
        table = pa.table(
            {"row_id": np.arange(rows)}
            | {f"x{i}": numbers[:, i] for i in range(5)}
            | {"label": (numbers[:, 0] + numbers[:, 1] > 0).astype(int)}
        )
        (tmp_path / "tables" / "sums").mkdir(parents=True, exist_ok=True)
        pq.write_table(table, tmp_path / "tables" / "sums" / f"{part}.parquet")
    return tmp_path


def test_a_report_says_what_it_lacks_and_goes_on_where_it_was(folder):
    (table,) = find_tables(folder / "tables", [], folder / "work")
    table.prepare()
    for unit in (Unit("PCA", 4, 0), Unit("raw", 5, 0), Unit("random", 4, 0)):
        measure(table, unit)
        written = (table.work / unit.file).stat().st_mtime_ns
        measure(table, unit)
        assert (table.work / unit.file).stat().st_mtime_ns == written
    write_report([Table(table.source, table.work)], folder / "out", apart=[])
    told = (folder / "out" / "quality.md").read_text()
    assert "sums (target-aware 4, unlabelled 4, unlabelled 2, PCA 2, kernel PCA 4" in told
    figures = json.loads((folder / "out" / "quality.json").read_text())["results"]
    assert {one["representation"] for one in figures} == {"PCA", "random", "raw"}
    raw = next(one for one in figures if one["representation"] == "raw")
    assert raw["probes"]["linear"]["score"] > 0.99
