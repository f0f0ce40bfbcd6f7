"""TableEmbedder keeps scikit-learn's conventions."""

import copy

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from training.estimator import TableEmbedder

ROWS = 120


@parametrize_with_checks([TableEmbedder(recipe="linear", random_state=0)])
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    age = rng.integers(18, 90, ROWS).astype(float)
    age[::7] = np.nan
    return pd.DataFrame(
        {
            "age": age,
            "größe": rng.normal(size=ROWS),
            "town": rng.choice(["Rome", "Oslo", "Łódź"], ROWS),
            "member": rng.random(ROWS) < 0.5,
            "since": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 900, ROWS), "D"),
        }
    ).set_index(pd.RangeIndex(1000, 1000 + ROWS, name="id"))


@pytest.fixture(scope="module")
def label(frame):
    return (frame["größe"] > 0).to_numpy().astype(int)


@pytest.fixture(scope="module")
def embedder(frame):
    return TableEmbedder(dim=3, recipe="linear", random_state=0).fit(frame)


def test_codes_are_float32_of_the_width_asked_for(embedder, frame):
    codes = embedder.transform(frame)
    assert (codes.shape, codes.dtype) == ((ROWS, 3), np.float32)


@pytest.mark.parametrize(
    "convert",
    [
        pl.from_pandas,
        lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
        lambda frame: pa.RecordBatch.from_pandas(frame, preserve_index=False),
    ],
    ids=["polars", "table", "batch"],
)
def test_every_kind_of_frame_gives_the_same_codes(embedder, frame, convert):
    assert np.array_equal(embedder.transform(convert(frame)), embedder.transform(frame))


def test_a_row_does_not_depend_on_the_rows_around_it(embedder, frame):
    alone = embedder.transform(frame.iloc[[5]])
    assert np.allclose(alone, embedder.transform(frame)[[5]], atol=1e-6)


def test_no_rows_give_no_codes(embedder, frame):
    assert embedder.transform(frame.iloc[:0]).shape == (0, 3)


def test_columns_without_names_are_called_x0_x1():
    X = np.random.default_rng(0).normal(size=(40, 5))
    fitted = TableEmbedder(dim=2, recipe="linear", random_state=0).fit(X)
    assert [c.name for c in fitted.checkpoint_.schema.features] == ["x0", "x1", "x2", "x3", "x4"]


def test_kinds_override_the_guess():
    X = np.random.default_rng(0).integers(0, 4, size=(40, 2))
    fitted = TableEmbedder(dim=2, recipe="linear", kinds={"x1": "category"}).fit(X)
    assert [c.kind for c in fitted.checkpoint_.schema.features] == ["number", "category"]


@pytest.mark.parametrize("way", ["columns", "vector"])
def test_images_are_said_as_in_a_project_file(way):
    rows = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    if way == "columns":
        table, images = rows, {"tile": {"columns": ["x*"], "shape": (2, 3)}}
    else:
        flat = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 6)
        table, images = pa.table({"tile": flat}), {"tile": {"shape": (2, 3)}}
    embedder = TableEmbedder(dim=2, recipe="conv", images=images, steps=2, random_state=0)
    assert embedder.fit_transform(table).shape == (40, 2)
    assert str(embedder.checkpoint_.schema.shapes["tile"]) == "2 x 3"


@pytest.mark.parametrize("said", [{"shape": (9,)}, {"columns": ["x*"], "shape": (7, 3)}])
def test_an_image_that_cannot_be_is_refused(said):
    with pytest.raises(ValueError, match="tile"):
        TableEmbedder(recipe="conv", images={"tile": said}).fit(np.ones((40, 6)))


def test_set_output_gives_a_frame_with_the_rows_own_index(embedder, frame):
    found = clone(embedder).set_output(transform="pandas").fit_transform(frame)
    assert found.index.equals(frame.index)
    assert list(found.columns) == list(embedder.get_feature_names_out())


def test_a_clone_has_the_settings_but_not_the_model(embedder):
    cloned = clone(embedder)
    assert cloned.get_params() == embedder.get_params()
    with pytest.raises(NotFittedError):
        cloned.transform(np.zeros((2, 2)))


def test_a_deep_copy_gives_the_same_codes(embedder, frame):
    copied = copy.deepcopy(embedder)
    assert np.array_equal(copied.transform(frame), embedder.transform(frame))


def test_it_stands_where_pca_stood_in_a_pipeline(frame, label):
    model = make_pipeline(
        TableEmbedder(dim=8, recipe="linear", random_state=0), LogisticRegression()
    )
    assert model.fit(frame, label).score(frame, label) > 0.8


def test_the_same_seed_gives_the_same_codes(embedder, frame):
    assert np.array_equal(clone(embedder).fit_transform(frame), embedder.transform(frame))


def test_auto_chooses_by_the_label_when_it_is_given(frame, label):
    fitted = TableEmbedder(dim=2, steps=3, random_state=0).fit(frame, label)
    assert "label" in fitted.checkpoint_.selection["criterion"]


def test_the_label_is_never_an_input(frame, label):
    fitted = TableEmbedder(dim=2, steps=3, random_state=0).fit(frame, label)
    assert [c.name for c in fitted.checkpoint_.schema.features] == list(frame.columns)


def test_too_few_rows_are_refused_in_a_sentence(frame):
    with pytest.raises(ValueError, match="needs 10 rows or more, found n_samples=9"):
        TableEmbedder(recipe="linear").fit(frame.iloc[:9])


def test_a_column_of_nulls_is_named(frame):
    with pytest.raises(ValueError, match="'nothing'"):
        TableEmbedder(recipe="linear").fit(frame.assign(nothing=np.nan))


def test_a_missing_column_is_refused(embedder, frame):
    with pytest.raises(ValueError, match="town"):
        embedder.transform(frame.drop(columns="town"))


def test_an_unknown_recipe_is_refused(frame):
    with pytest.raises(ValueError, match="lniear"):
        TableEmbedder(recipe="lniear").fit(frame)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"recipe": "linear", "use_label": True}, "or set use_label=False"),
        ({"recipe": "supervised"}, "add use_label=True with labels y"),
        ({"recipe": "conv"}, "declare one in images: "),
        ({"recipe": "cvae"}, "set use_label=True and pass labels y"),
    ],
)
def test_errors_name_its_parameters_and_no_flag(frame, label, settings, told):
    with pytest.raises(ValueError, match=told) as caught:
        TableEmbedder(dim=2, random_state=0, **settings).fit(frame, label)
    assert "--" not in str(caught.value)
    assert "project file" not in str(caught.value)
