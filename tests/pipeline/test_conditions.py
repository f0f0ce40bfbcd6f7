"""What a decoder is told: as asked for, or drawn; and the codes that choose a spread."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.conditions import Conditions
from pipeline.config import ColumnOverride
from pipeline.prologue import Prologue
from pipeline.schema_inference import infer
from pipeline.transforms import Classes

CITIES = ["Oslo"] * 500 + ["Roma"] * 300 + [None] * 200
LABELS: dict[str, tuple[pa.Array, Classes]] = {
    "text": (pa.array(["no", "yes"] * 500), Classes("label", "text", ("yes", "", "no"))),
    "integer": (pa.array([3, 9] * 500), Classes("label", "integer", (3, 9))),
    "number": (pa.array([0.5, 2.0] * 500), Classes("label", "number", (0.5, 2.0))),
    "boolean": (pa.array([False, True] * 500), Classes("label", "number", (0.0, 1.0))),
}


def conditions(kind: str, *, names: tuple[str, ...] = ("label",), **more: Any) -> Conditions:
    """Conditions on `names` of a table with a category and a label of some kind."""
    column, label = LABELS[kind]
    table = pa.table({"city": pa.array(CITIES), "x": np.arange(1000.0), "label": column})
    overrides = {"label": ColumnOverride(kind="category")} if kind == "integer" else {}
    if "city" in names:
        overrides["city"] = ColumnOverride(role="condition")
    schema = infer(table.schema, table, labels=["label"], overrides=overrides)
    prologue = Prologue.fit(table.to_batches(), schema)
    prologue.label = label if "label" in names else None
    return Conditions(prologue, table.schema, names=names, model="m", **({"where": ()} | more))


def coded(told: Conditions, rows: int) -> np.ndarray:
    fed = told.inputs(told.draw(rows, np.random.default_rng(0)), rows)
    return told.codes(fed, rows)


@pytest.mark.parametrize("kind", list(LABELS))
def test_a_label_that_is_not_asked_for_is_drawn_by_its_shares(kind):
    last = len(LABELS[kind][1].values)
    told = conditions(kind, shares={1: 0.6, last: 0.3, 0: 0.1})
    found = coded(told, 5_000)
    assert found.shape == (5_000, 1) and found.dtype == np.int64
    shares = np.bincount(found[:, 0], minlength=last + 1) / 5_000
    assert np.allclose([shares[1], shares[last], shares[0]], [0.6, 0.3, 0.1], atol=0.03)
    assert told.added == []


@pytest.mark.parametrize("kind", list(LABELS))
def test_without_shares_a_label_is_not_known(kind):
    assert coded(conditions(kind), 5).tolist() == [[0]] * 5


def test_a_label_that_is_asked_for_has_its_code():
    told = conditions("text", where=("label=no",), shares={1: 1.0})
    assert coded(told, 3).tolist() == [[3]] * 3
    assert [field.name for field in told.added] == ["label"]


def test_condition_columns_have_the_codes_of_the_preprocessing():
    assert coded(conditions("text", names=("city",), where=("city=Roma",)), 2).tolist() == [[4]] * 2
    found = coded(conditions("text", names=("city",)), 5_000)[:, 0]
    assert np.allclose(np.bincount(found)[[1, 3, 4]] / 5_000, [0.2, 0.5, 0.3], atol=0.03)


def test_a_condition_that_is_a_number_has_no_code():
    told = conditions("text", names=())
    assert told.codes({}, 4).shape == (4, 0)
