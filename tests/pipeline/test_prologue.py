import ctypes
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from pipeline.errors import SchemaError
from pipeline.feed import feed
from pipeline.prologue import CODED, NUMERIC, RANKED, Prologue
from pipeline.runtime import Session
from pipeline.schema_inference import infer
from pipeline.transforms import CLIP


def fitted(**columns: object) -> tuple[Prologue, pa.Table]:
    table = pa.table(columns)
    return Prologue.fit(table.to_batches(), infer(table.schema, table)), table


def column(prologue: Prologue, table: pa.Table, name: str, view: str = "value") -> np.ndarray:
    place = [(s.column, s.view) for s in prologue.numeric_slots].index((name, view))
    return prologue.run(table).numeric[:, place]


def test_numbers_are_standardised_as_numpy_does() -> None:
    values = np.random.default_rng(0).normal(3, 2, 5_000)
    prologue, table = fitted(x=values)
    expected = np.clip((values - values.mean()) / values.std(), -CLIP, CLIP)
    np.testing.assert_allclose(column(prologue, table, "x"), expected, atol=1e-6)


def test_ids_near_ten_to_the_fifteen_keep_their_differences() -> None:
    values = 1_700_000_000_000_000 + np.arange(1_000)
    prologue, table = fitted(x=values)
    assert len(np.unique(column(prologue, table, "x"))) == 1_000


def test_missing_numbers_take_the_median_and_are_marked() -> None:
    prologue, table = fitted(x=[1.0, 2.0, 9.0, None])
    assert column(prologue, table, "x")[3] == column(prologue, table, "x")[1]
    assert column(prologue, table, "x", "missing").tolist() == pytest.approx(
        [-0.577] * 3 + [1.732], abs=1e-3
    )


def test_a_null_that_training_never_saw_takes_the_median() -> None:
    prologue, _ = fitted(x=[1.0, 2.0, 9.0])
    found = prologue.run(pa.table({"x": pa.array([None, 2.0], pa.float64())})).numeric
    assert found[0] == found[1]


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e308, -1e308, 1e38])
def test_huge_numbers_are_clipped(value: float) -> None:
    prologue, _ = fitted(x=[1.0, 2.0, 3.0])
    found = prologue.run(pa.table({"x": [value]}))
    assert found.numeric[0, 0] == np.sign(value) * CLIP
    assert np.isfinite(found.ranked).all()


@pytest.mark.parametrize("far", [np.inf, 1e308, -1e200])
def test_infinities_leave_the_statistics_alone(far: float) -> None:
    with_infinity, _ = fitted(x=[1.0, 2.0, 3.0, far, far])
    without, table = fitted(x=[1.0, 2.0, 3.0])
    assert (column(with_infinity, table, "x") == column(without, table, "x")).all()


def test_times_at_the_ends_of_int64_have_their_cycles() -> None:
    times = pa.array([2**63 - 1, 1 - 2**63, 0, 86_400_000_000], pa.timestamp("us"))
    prologue, table = fitted(t=times)
    assert np.isfinite(prologue.run(table).numeric).all()


def test_the_ranked_view_is_normal_whatever_the_distribution() -> None:
    values = np.exp(3 * np.random.default_rng(0).normal(size=20_000))
    prologue, table = fitted(x=values)
    ranked = np.sort(prologue.run(table).ranked[:, 0])
    assert np.interp([0.1, 0.5, 0.9], np.linspace(0, 1, len(ranked)), ranked) == pytest.approx(
        [-1.28, 0, 1.28], abs=0.05
    )


@given(st.lists(st.floats(-1e300, 1e300), min_size=3, max_size=60), st.floats(-1e300, 1e300))
@settings(max_examples=40)
def test_the_ranked_view_never_falls_when_the_number_rises(
    values: list[float], other: float
) -> None:
    prologue, _ = fitted(x=values, y=[float(i) for i in range(len(values))])
    ordered = np.sort([*values, other])
    ranked = prologue.run(pa.table({"x": ordered, "y": np.zeros(len(ordered))})).ranked
    assert (np.diff(ranked[:, 0]) >= -1e-6).all()
    assert np.isfinite(ranked).all()


def test_categories_are_coded_by_falling_frequency() -> None:
    prologue, _ = fitted(c=["b"] * 5 + ["a"] * 3 + ["once"] + [None])
    found = prologue.run(pa.table({"c": ["b", "a", "once", "never", None, ""]})).codes
    assert found[:, 0].tolist() == [3, 4, 2, 0, 1, 1]


def test_a_time_shows_its_place_in_day_week_and_year() -> None:
    hours = pa.array(np.arange(0, 24 * 400, 7) * 3_600_000_000, pa.timestamp("us"))
    prologue, table = fitted(t=hours)
    slots = prologue.numeric_slots
    waves = [i for i, s in enumerate(slots) if ":day" in s.view]
    numeric = prologue.run(table).numeric[:, waves]
    assert {s.view for s in slots} >= {"value", "sin:day", "cos:day", "sin:week", "cos:year"}
    same_hour = (np.arange(0, 24 * 400, 7) % 24) == 0
    assert np.ptp(numeric[same_hour], axis=0).max() == 0


def test_times_before_1970_have_their_place_too() -> None:
    prologue, _ = fitted(t=pa.array(np.arange(-5_000, 5_000) * 3_600_000_000, pa.timestamp("us")))
    day = 86_400_000_000
    noons = pa.table({"t": pa.array([day // 2, day // 2 - 30 * day], pa.timestamp("us"))})
    waves = [i for i, s in enumerate(prologue.numeric_slots) if ":day" in s.view]
    found = prologue.run(noons).numeric[:, waves]
    assert (found[0] == found[1]).all()


def test_a_constant_column_gives_nothing_but_is_still_an_input() -> None:
    prologue, _ = fitted(x=[1.0, 1.0, 1.0], y=[1.0, 2.0, 3.0])
    assert [s.column for s in prologue.numeric_slots] == ["y"]
    assert {i.name for i in prologue.to_model().graph.input} == {"x", "y"}


def test_a_constant_pixel_stays_in_its_place_as_zero() -> None:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 5, 2.0, 5, 3.0, 5]), 2)
    prologue, table = fitted(v=vectors)
    assert (prologue.run(table).numeric[:, 1] == 0).all()


def test_columns_of_nulls_are_all_named() -> None:
    nothing = pa.array([None, None], pa.float64())
    said = r"'x', 'z' must hold values, found only nulls in 2 training rows; ignore them"
    with pytest.raises(SchemaError, match=said):
        fitted(x=nothing, y=[1.0, 2.0], z=nothing)


def test_a_table_of_constants_has_no_usable_feature() -> None:
    with pytest.raises(SchemaError, match="no usable feature: x holds one value only"):
        fitted(x=[1.0, 1.0])


def test_one_category_alone_is_no_usable_feature() -> None:
    with pytest.raises(SchemaError, match="no usable feature: c, x hold one value only"):
        fitted(c=["a", "a"], x=[1.0, 1.0])


def test_columns_may_be_called_like_inner_matrices() -> None:
    names = ["numeric", "ranked", "codes", "code:codes", "numbers"]
    prologue, table = fitted(**{name: ["a", "b", "b"] for name in names[2:4]}, numeric=[1.0, 2, 4])
    assert prologue.run(table).codes.tolist() == [[2, 2], [3, 3], [3, 3]]
    assert prologue.lookup_model() is not None


def test_an_empty_table_cannot_be_fitted() -> None:
    with pytest.raises(SchemaError, match="the table is empty"):
        fitted(x=pa.array([], pa.float64()))


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 255, 1_024])
def test_prepared_rows_do_not_depend_on_their_batch(
    prologue: Prologue, table: pa.Table, rows: int
) -> None:
    whole, part = prologue.run(table), prologue.run(table.slice(5, rows))
    for one, other in zip(whole, part, strict=True):
        np.testing.assert_array_equal(one[5 : 5 + rows], other)


def test_fitting_does_not_depend_on_the_batches(table: pa.Table, prologue: Prologue) -> None:
    again = Prologue.fit(table.to_batches(100), prologue.schema)
    one, other = again.run(table), prologue.run(table)
    np.testing.assert_allclose(one.numeric, other.numeric, atol=1e-5)
    np.testing.assert_array_equal(one.codes, other.codes)


def test_a_prologue_survives_json_with_the_same_bytes(prologue: Prologue) -> None:
    again = Prologue.from_json(json.loads(json.dumps(prologue.to_json())))
    assert again.to_model().SerializeToString() == prologue.to_model().SerializeToString()


def test_the_reference_evaluator_agrees(prologue: Prologue, table: pa.Table) -> None:
    few = table.slice(0, 50)
    names = [NUMERIC, RANKED, CODED]
    found = ReferenceEvaluator(prologue.to_model()).run(names, feed(few, prologue.schema))
    for one, other in zip(found, prologue.run(few), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_the_inverse_gives_back_what_went_in(prologue: Prologue, table: pa.Table) -> None:
    few = table.slice(0, 200)
    prepared = prologue.run(few)
    logits = [np.eye(n)[c] for n, c in zip(prologue.classes, prepared.codes.T, strict=True)]
    inputs = {
        "p2v/numeric": prepared.numeric,
        "p2v/logits": np.concatenate(logits, axis=1).astype(np.float32),
    }
    evaluator = ReferenceEvaluator(prologue.inverse_model())
    found = dict(zip(evaluator.output_names, evaluator.run(None, inputs), strict=True))
    np.testing.assert_allclose(found["ratio"], few["ratio"].to_numpy(), atol=1e-4)
    np.testing.assert_allclose(found["big"], few["big"].to_numpy(), atol=1)
    assert [str(c) for c in found["city"]] == [c or "" for c in few["city"].to_pylist()]
    assert found["flag"].dtype == bool


def many_numbers(*, columns: int, rows: int) -> tuple[Prologue, pa.Table]:
    random = np.random.default_rng(0)
    return fitted(**{f"x{place}": random.normal(size=rows) for place in range(columns)})


def test_however_many_rows_come_few_go_through_the_model_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prologue, table = many_numbers(columns=100, rows=5_000)
    seen, run = [], Session.run
    monkeypatch.setattr(
        Session, "run", lambda self, names, given: seen.append(given) or run(self, names, given)
    )
    whole = prologue.run(table)
    assert sum(len(given["x0"]) for given in seen) == 5_000
    assert max(values.nbytes * 100 for given in seen for values in given.values()) <= 2**21
    one_by_one = [prologue.run(table.slice(place, 1)) for place in (0, 2_500, 4_999)]
    np.testing.assert_array_equal(
        whole.numeric[[0, 2_500, 4_999]], np.concatenate([one.numeric for one in one_by_one])
    )


def test_no_rows_prepare_to_no_rows_of_the_same_width() -> None:
    prologue, table = fitted(x=[1.0, 2.0, 9.0, None], c=["a", "b", "a", "b"])
    none = prologue.run(table.slice(0, 0))
    whole = prologue.run(table)
    assert [part.shape for part in none] == [(0, part.shape[1]) for part in whole]


class Heap(ctypes.Structure):
    """What glibc tells of its heap."""

    _fields_ = [(f"field_{place}", ctypes.c_size_t) for place in range(10)]


def free_heap_bytes() -> int:
    """What the heap has and nobody uses."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        pytest.skip("only glibc tells of its heap")
    library.mallinfo2.restype = Heap
    return int(library.mallinfo2().field_8)


def test_the_heap_does_not_grow_with_the_rows_where_a_little_of_each_batch_is_kept() -> None:
    prologue, table = many_numbers(columns=100, rows=4_096)
    batch = table.combine_chunks().to_batches()[0]
    random, kept = np.random.default_rng(0), list[object]()
    for place in range(12):
        for _ in prologue.runs(batch):
            pass
        kept.append(batch.take(pa.array(np.arange(30))))
        kept.append([bytes(size) for size in random.integers(520, 9_000, 200).tolist()])
        if place == 1:
            before = free_heap_bytes()
    # Of the aligned arrays of ten such batches 50 to 100 MB would be left.
    assert free_heap_bytes() - before < 2**24
