import numpy as np
import pyarrow as pa
import pytest

from export.adversary import SINGLE_CHANGES, adversarial_rows, extreme_values
from pipeline.feed import NULL_INT, feed
from pipeline.schema import FeatureSchema
from pipeline.schema_inference import infer


@pytest.fixture(scope="module")
def schema(table: pa.Table) -> FeatureSchema:
    return infer(table.schema, table)


def test_the_first_row_is_all_null(schema: FeatureSchema, table: pa.Table) -> None:
    rows = adversarial_rows(schema, feed(table, schema))
    assert np.isnan(rows["amount"][0]) and np.isnan(rows["pixels"][0]).all()
    assert rows["when"][0] == NULL_INT and rows["ciudad"][0] == ""


def test_every_extreme_of_every_column_occurs(schema: FeatureSchema, table: pa.Table) -> None:
    rows = adversarial_rows(schema, feed(table, schema))
    for column in schema.features:
        values = rows[column.name]
        for extreme in extreme_values(column):
            found = [np.array_equal(extreme, v, equal_nan=values.dtype != object) for v in values]
            assert any(found), (column.name, extreme)


def test_they_have_the_types_of_a_table_and_an_odd_count(
    schema: FeatureSchema, table: pa.Table
) -> None:
    ordinary = feed(table, schema)
    rows = adversarial_rows(schema, ordinary)
    assert {n: v.dtype for n, v in rows.items()} == {n: v.dtype for n, v in ordinary.items()}
    assert {len(values) % 2 for values in rows.values()} == {1}


def test_no_ordinary_row_is_needed(schema: FeatureSchema, table: pa.Table) -> None:
    rows = adversarial_rows(schema, feed(table.slice(0, 0), schema))
    assert len(rows["amount"]) > 30


def test_their_number_is_bounded() -> None:
    wide = pa.table({f"c{i}": [1.0, 2.0] for i in range(400)})
    schema = infer(wide.schema, wide)
    assert len(adversarial_rows(schema, feed(wide, schema))["c0"]) < SINGLE_CHANGES + 50


def test_integers_declared_categories_have_extremes_of_their_own() -> None:
    column = infer(pa.schema({"k": pa.int64()}), pa.table({"k": [1]})).columns[0]
    values = extreme_values(column.model_copy(update={"kind": "category"}))
    assert values.dtype == np.int64 and values[0] == NULL_INT
