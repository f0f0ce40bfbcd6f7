"""Images in a contract: shapes of vector columns, columns that are pixels, and what goes wrong."""

import logging
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import ColumnOverride, PixelColumns, parse
from pipeline.errors import ConfigError, SchemaError
from pipeline.images import ImageShape, expand
from pipeline.prologue import Prologue
from pipeline.runtime import Session
from pipeline.schema import FeatureSchema
from pipeline.schema_inference import infer

ROWS = 50
SIDES = st.integers(1, 6)


def photographs(elements: int) -> np.ndarray:
    """Images whose elements vary by very different amounts, the last one not at all."""
    values = np.random.default_rng(0).normal(size=(ROWS, elements)) * np.geomspace(
        0.01, 9, elements
    )
    values[:, -1] = 7
    return values.astype(np.float32)


def vector_table(values: np.ndarray) -> pa.Table:
    flat = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    return pa.table({"id": pa.array(np.arange(ROWS)), "photo": flat})


def pixel_table(values: np.ndarray, order: Any = None) -> pa.Table:
    names = [f"p_{i}" for i in range(values.shape[1])]
    columns = {name: pa.array(values[:, i]) for i, name in enumerate(names)}
    return pa.table({"id": pa.array(np.arange(ROWS)), **columns}).select(
        ["id", *(sorted(names) if order is None else order)]
    )


def as_image(table: pa.Table, **said: Any) -> FeatureSchema:
    overrides = {"photo": ColumnOverride(kind="image", **said)}
    return infer(table.schema, table, keys=["id"], overrides=overrides)


def as_pixels(table: pa.Table, **images: dict[str, Any]) -> FeatureSchema:
    said = {name: PixelColumns(**one) for name, one in images.items()}
    return infer(table.schema, table, keys=["id"], images=said)


@given(channels=st.integers(1, 4), height=SIDES, width=SIDES)
def test_the_order_of_channels_last_is_that_of_numpy(channels, height, width):
    shape = ImageShape(channels=channels, height=height, width=width, channels_last=True)
    stored = np.arange(shape.elements).reshape(height, width, channels)
    assert list(shape.order()) == stored.transpose(2, 0, 1).ravel().tolist()


@pytest.mark.parametrize(
    ("said", "channels", "height", "width", "last"),
    [
        ({"shape": (3, 4)}, 1, 3, 4, False),
        ({"shape": (3, 2, 2)}, 3, 2, 2, False),
        ({"shape": (2, 2, 3), "channels": "last"}, 3, 2, 2, True),
    ],
)
def test_a_shape_is_said_as_the_array_was(said, channels, height, width, last):
    schema = as_image(vector_table(photographs(12)), **said)
    expected = ImageShape(channels=channels, height=height, width=width, channels_last=last)
    assert schema.shapes == {"photo": expected}


def test_a_square_is_guessed_and_told(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        schema = as_image(vector_table(photographs(9)))
    assert str(schema.shapes["photo"]) == "3 x 3"
    assert "its 9 elements are taken for 3 x 3; say shape = [3, 3]" in caplog.text


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, "column 'photo' has 12 elements, which is no square; say its shape"),
        ({"shape": (4, 4)}, "must have 16 elements for shape [4, 4], found 12; mend the shape"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(said, told):
    with pytest.raises(SchemaError) as raised:
        as_image(vector_table(photographs(12)), **said)
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"kind": "image", "shape": [32, 32, 3]}, 'looks the other way; say channels = "last"'),
        ({"shape": [3, 3]}, 'a shape needs kind = "image"'),
        ({"kind": "vector", "shape": [3, 3]}, 'a shape needs kind = "image"'),
        ({"kind": "image", "shape": [9]}, "at least 2 items"),
        ({"kind": "image", "shape": [0, 9]}, "greater than or equal to 1"),
    ],
)
def test_a_shape_that_cannot_be_meant_is_refused_where_it_is_said(said, told):
    with pytest.raises(ConfigError) as raised:
        parse(ColumnOverride, said)
    assert told in str(raised.value)


def test_pixels_follow_the_numbers_in_their_names_and_not_the_alphabet():
    schema = as_pixels(pixel_table(photographs(12)), tile={"columns": ["p_*"], "shape": [3, 4]})
    assert schema.images[0].columns == tuple(f"p_{i}" for i in range(12))


def test_names_that_differ_in_letters_keep_the_order_of_the_table():
    names = ["p_b", "p_a", "q_1", "p_c"]
    assert expand("p_*", names) == ["p_b", "p_a", "p_c"]


def test_numbers_count_by_rows_then_columns():
    names = ["r10c2", "r2c10", "r2c9", "r10c1"]
    assert expand("r*", names) == ["r2c9", "r2c10", "r10c1", "r10c2"]


def test_a_number_of_thousands_of_digits_can_be_in_a_name():
    names = ["p" + "9" * 5000, "p1"]
    assert expand("p*", names) == names[::-1]


def test_patterns_follow_each_other_as_they_were_said():
    table = pixel_table(photographs(12))
    said = {"columns": ["p_11", "p_?", "p_10"], "shape": [3, 4]}
    found = as_pixels(table, tile=said).images[0].columns
    assert found == ("p_11", *(f"p_{i}" for i in range(10)), "p_10")


def test_a_pattern_leaves_out_keys_and_labels():
    schema = as_pixels(pixel_table(photographs(9)), tile={"columns": ["*"]})
    assert "id" not in schema.images[0].columns


@pytest.mark.parametrize(
    ("images", "told"),
    [
        ({"t": {"columns": ["p_*"]}}, "image 't' has 12 elements, which is no square"),
        ({"t": {"columns": ["p_*"], "shape": [5, 5]}}, "must have 25 elements for shape [5, 5]"),
        ({"t": {"columns": ["q_*"]}}, "'q_*' matches no number among them"),
        ({"t": {"columns": ["id"]}}, "'id' is not a number among them"),
        ({"t": {"columns": ["p_1", "p_1"]}}, "image 't' has column 'p_1' twice"),
        ({"p_1": {"columns": ["p_?"]}}, "image 'p_1' has the name of a column"),
        (
            {n: {"columns": ["p_*"], "shape": [3, 4]} for n in "ab"},
            "column 'p_0' is in 2 images",
        ),
    ],
)
def test_pixels_that_make_no_image_are_refused(images, told):
    with pytest.raises(SchemaError) as raised:
        as_pixels(pixel_table(photographs(12)), **images)
    assert told in str(raised.value)


def test_a_contract_without_images_has_the_text_and_hash_it_always_had():
    fields = {"id": pa.int64(), "x": pa.float64(), "v": pa.list_(pa.float32(), 3)}
    schema = infer(pa.schema(fields), pa.schema(fields).empty_table(), keys=["id"])
    assert schema.fingerprint == "77d3c52488f680650980d5578573cd472fab8b206317a3ebd7323536609b8aa5"


def test_a_contract_with_images_survives_its_text():
    vector = as_image(vector_table(photographs(12)), shape=(2, 2, 3), channels="last")
    pixels = as_pixels(pixel_table(photographs(12)), tile={"columns": ["p_*"], "shape": [3, 4]})
    for schema in (vector, pixels):
        assert FeatureSchema.model_validate_json(schema.model_dump_json()) == schema


def test_a_contract_of_before_shapes_still_opens():
    old = '{"columns":[{"name":"v","kind":"image","role":"feature","type":"x","length":4}]}'
    schema = FeatureSchema.model_validate_json(old)
    assert (schema.shapes, schema.images) == ({}, ())
    assert schema.model_dump_json() == old


def test_an_image_keeps_the_proportions_of_its_elements():
    values = photographs(12)
    table = vector_table(values)
    prologue = Prologue.fit(table.to_batches(), as_image(table, shape=(3, 4)))
    prepared = prologue.run(table).numeric
    scale = np.sqrt(values.astype(float).var(axis=0).mean())
    centred = (values - values.mean(axis=0)) / scale
    assert np.abs(centred).max() > 5
    assert np.abs(prepared - centred).max() < 1e-5


def test_pixel_columns_are_prepared_like_the_vector_they_could_be():
    values = photographs(12)
    tables = vector_table(values), pixel_table(values)
    schemas = (
        as_image(tables[0], shape=(3, 4)),
        as_pixels(tables[1], tile={"columns": ["p_*"], "shape": [3, 4]}),
    )
    prepared = []
    for table, schema in zip(tables, schemas, strict=True):
        prologue = Prologue.fit(table.to_batches(), schema)
        found = prologue.run(table)
        places = {
            int(slot.column.removeprefix("p_")) if slot.column != "photo" else slot.element: place
            for place, slot in enumerate(prologue.numeric_slots)
        }
        prepared.append(found.numeric[:, [places[i] for i in range(11)]])
        assert found.ranked.shape[1] == 0
    assert np.abs(prepared[0] - prepared[1]).max() < 1e-5


def test_pixels_that_are_null_are_marked_and_filled():
    table = pixel_table(photographs(9))
    gone = pa.array([None] + [1.0] * (ROWS - 1), pa.float32())
    table = table.set_column(table.column_names.index("p_3"), "p_3", gone)
    prologue = Prologue.fit(table.to_batches(), as_pixels(table, tile={"columns": ["p_*"]}))
    marks = [slot.column for slot in prologue.numeric_slots if slot.view == "missing"]
    assert marks == ["p_3"]
    assert np.isfinite(prologue.run(table).numeric).all()


def test_pixels_come_back_in_their_own_units():
    values = photographs(9)
    table = pixel_table(values)
    prologue = Prologue.fit(table.to_batches(), as_pixels(table, tile={"columns": ["p_*"]}))
    prepared = prologue.run(table)
    inverse = Session(prologue.inverse_model().SerializeToString())
    (found,) = inverse.run(["p_7"], {"p2v/numeric": prepared.numeric})
    assert np.abs(found - values[:, 7]).max() < 1e-3
