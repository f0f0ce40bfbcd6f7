from types import SimpleNamespace

import numpy as np
import pytest

from training import selection
from training.candidates import make
from training.labels import LabelCoder, as_target, task_of
from training.recipes import concrete
from training.selection import HIDDEN, LEAST_HIDDEN_LEAD, Leads, select
from training.spec import TrainingConfig


def model(rows, recipe="linear", *, dim=4, seed=0, steps=5):
    return make(
        concrete(recipe, dim=dim),
        matrix=rows.matrix,
        layout=rows.layout,
        moments=rows.moments,
        config=TrainingConfig(steps=steps),
        seed=seed,
    )[0]


@pytest.mark.parametrize("label", ["label", None])
def test_equal_candidates_leave_linear(rows, label):
    told = select({"linear": model(rows), "twin": model(rows)}, rows.matrix, label=label)
    assert (told["winner"], told["margin"]) == ("linear", 0)


@pytest.mark.parametrize("label", ["label", None])
def test_a_clearly_better_candidate_wins(rows, label):
    models = {"linear": model(rows, dim=1), "wider": model(rows, dim=16)}
    told = select(models, rows.matrix, label=label)
    assert told["winner"] == "wider"
    assert told["margin"] > told["standard_errors"]["wider"]


@pytest.mark.parametrize("label", ["label", None])
def test_a_worse_candidate_loses(rows, label):
    models = {"linear": model(rows, dim=8), "narrow": model(rows, dim=1)}
    assert select(models, rows.matrix, label=label)["winner"] == "linear"


def leads(lead, *, error, **more):
    return Leads(
        scores={"first": 0.6, "linear": 0.6 + lead},
        errors={"first": 0.0, "linear": error},
        rows=5_000,
        **more,
    )


@pytest.mark.parametrize(
    ("target", "lead", "winner"),
    [("none", 0.010, "linear"), ("joint", 0.010, "first"), ("joint", 0.015, "linear")],
)
def test_a_code_made_for_the_label_gives_way_to_a_clear_lead_only(
    monkeypatch, target, lead, winner
):
    found = leads(lead, error=0.007, criterion="a probe")
    monkeypatch.setattr(selection, "by_label", lambda *_, **__: found)
    first = SimpleNamespace(spec=SimpleNamespace(target=target))
    assert select({"first": first, "linear": None}, None, label="label")["winner"] == winner


@pytest.mark.parametrize(("lead", "winner"), [(0.04, "first"), (0.06, "linear")])
def test_hidden_columns_alone_need_a_large_lead(monkeypatch, lead, winner):
    found = leads(lead, error=0.001, criterion=HIDDEN, least=LEAST_HIDDEN_LEAD)
    monkeypatch.setattr(selection, "by_hidden_columns", lambda *_: found)
    first = SimpleNamespace(spec=SimpleNamespace(target="none"))
    assert select({"first": first, "linear": None}, None, label=None)["winner"] == winner


@pytest.mark.parametrize(
    ("values", "text", "task"),
    [
        ([0.0, 1.0, np.nan], False, "two classes"),
        ([1.0, 2.0, 3.0], False, "classes"),
        ([0.1, 0.2, 0.3], False, "numbers"),
        (list(range(60)), False, "numbers"),
        (list(range(60)), True, "classes"),
        ([4.0, 4.0], False, None),
        (list(range(5000)), True, None),
    ],
)
def test_the_task_is_read_from_the_values(values, text, task):
    assert task_of(np.array(values, float), text=text) == task


def test_labels_keep_their_numbers_over_batches(rows):
    coder = LabelCoder(("label",))
    table = rows.table.select(["label"])
    whole = coder.code(table.combine_chunks().to_batches()[0])
    parts = LabelCoder(("label",))
    cut = [parts.code(batch) for batch in table.to_batches(max_chunksize=77)]
    assert np.array_equal(whole, np.concatenate(cut))


def test_a_class_that_training_rows_lack_is_minus_one():
    known = np.array([0.0, 2.0])
    assert as_target(np.array([2.0, 1.0, 5.0]), "classes", known=known).tolist() == [1, -1, -1]
