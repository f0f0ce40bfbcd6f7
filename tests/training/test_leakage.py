"""Warnings of leakage fire where rows or columns leak, and nowhere else."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.schema_inference import infer
from training.baselines import fit_raw_matrix
from training.leakage import PREFIX, Rows, suspicions
from training.rows import target

ROWS = 600


def make_table(*, seed=0, **more) -> pa.Table:
    """An honest table: the label goes with a column, but not by far with that alone."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, ROWS))
    told = first + second + 0.5 * rng.normal(size=ROWS)
    columns = {
        "first": pa.array(first),
        "second": pa.array(second),
        "town": pa.array(rng.choice(["Rome", "Oslo", "Cork"], ROWS)),
        "flag": pa.array(rng.random(ROWS) < 0.5),
        "label": pa.array(np.where(told > 0, "yes", "no")),
    }
    return pa.table(columns | more)


def found(train, test, *, rule="key"):
    schema = infer(train.schema, train, labels=["label"])
    raw = fit_raw_matrix(train, schema)
    goal = target("label", train["label"], test["label"])
    said = suspicions(Rows(raw, raw.transform(train), raw.transform(test), goal, rule))
    assert all(one.startswith(PREFIX) for one in said)
    return said


def test_an_honest_table_raises_no_warning():
    assert found(make_table(), make_table(seed=1)) == ()


@pytest.mark.parametrize(("copies", "warned"), [(30, True), (3, False)])
def test_copies_of_training_rows_are_told_of(copies, warned):
    train, test = make_table(), make_table(seed=1)
    test = pa.concat_tables([train.slice(0, copies), test.slice(copies)])
    said = found(train, test)
    assert (len(said) == 1) is warned
    assert not warned or "5% of the test rows have the same features" in said[0]


@pytest.mark.parametrize(("rule", "warned"), [("key", True), ("position", True), ("time", False)])
def test_a_random_split_of_a_table_with_a_time_is_told_of(rule, warned):
    times = pa.array(1_700_000_000_000_000 + np.arange(ROWS) * 10**9, pa.timestamp("us"))
    rng = np.random.default_rng(2)
    tables = [
        make_table(seed=seed, seen=times.take(pa.array(rng.permutation(ROWS)))) for seed in (0, 1)
    ]
    said = [one for one in found(*tables, rule=rule) if "is a time" in one]
    assert (len(said) == 1) is warned
    assert not warned or "train with --event-time seen" in said[0]


def members(seed, *, constant):
    """A column that says which of 60 people a row is about; their label is constant, or not."""
    rng = np.random.default_rng(seed)
    who = rng.integers(0, 60, ROWS)
    own = np.random.default_rng(7).random(60) < 0.5
    label = own[who] if constant else rng.random(ROWS) < 0.5
    return make_table(
        seed=seed,
        who=pa.array([f"person {one}" for one in who]),
        label=pa.array(np.where(label, "yes", "no")),
    )


@pytest.mark.parametrize("constant", [True, False])
def test_a_column_of_groups_with_one_label_each_is_told_of(constant):
    said = found(members(0, constant=constant), members(1, constant=constant))
    assert any("split by it: --key who" in one for one in said) is constant


def test_test_rows_from_elsewhere_are_not_asked_for_their_split():
    said = found(members(0, constant=True), members(1, constant=True), rule="given")
    assert not any("--key who" in one for one in said)


def test_a_column_that_gives_the_label_away_is_told_of():
    tables = [make_table(seed=seed) for seed in (0, 1)]
    rng = np.random.default_rng(3)
    spoilt = [
        one.append_column(
            "outcome", pa.array(np.array(one["label"]) == "yes").cast(pa.float64())
        ).append_column("hint", pa.array((np.array(one["label"]) == "yes") + rng.normal(size=ROWS)))
        for one in tables
    ]
    said = found(*spoilt)
    assert len(said) == 1
    assert "'outcome' alone predicts the label with ROC AUC 1.000" in said[0]
    assert "--ignore outcome" in said[0]


def test_a_number_that_gives_a_number_away_is_told_of():
    rng = np.random.default_rng(0)
    tables = []
    for _ in range(2):
        value = rng.normal(size=ROWS)
        other = value + rng.normal(size=ROWS)
        tables.append(pa.table({"copy": value * 3 + 1, "other": other, "label": value}))
    said = found(*tables)
    assert ["'copy' alone predicts" in one for one in said] == [True]
