from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from pipeline import Encoder
from pipeline.bundle import Bundle
from pipeline.errors import DataError, SchemaError
from pipeline.feed import feed
from pipeline.runtime import Session


@pytest.fixture(scope="module")
def encoder(bundle: Bundle) -> Encoder:
    return Encoder.open(bundle.path)


def test_codes_and_core_give_the_bits_of_the_whole_graph(
    bundle: Bundle, encoder: Encoder, table: pa.Table
) -> None:
    whole = Session(bundle.read("encoder.onnx"))
    (expected,) = whole.run(["embedding"], feed(table, bundle.manifest.feature_schema))
    np.testing.assert_array_equal(encoder.transform(table), expected)


def test_unknown_categories_and_nulls_have_vectors(encoder: Encoder, table: pa.Table) -> None:
    few = table.slice(0, 3)
    odd = few.set_column(few.column_names.index("city"), "city", pa.array(["новый", None, ""]))
    found = encoder.transform(odd)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("rows", [0, 1, 255, 2_999])
def test_a_row_does_not_depend_on_the_others(encoder: Encoder, table: pa.Table, rows: int) -> None:
    whole = encoder.transform(table)
    np.testing.assert_array_equal(encoder.transform(table.slice(0, rows)), whole[:rows])


def test_chunks_with_different_dictionaries_are_one_table(
    encoder: Encoder, table: pa.Table
) -> None:
    parts = pa.concat_tables([table.slice(2_000), table.slice(0, 500)])
    whole = encoder.transform(table)
    np.testing.assert_array_equal(
        encoder.transform(parts), np.concatenate([whole[2_000:], whole[:500]])
    )


def test_a_pandas_frame_gives_the_vectors_of_its_table(encoder: Encoder, table: pa.Table) -> None:
    frame = table.to_pandas(types_mapper=pd.ArrowDtype)
    np.testing.assert_array_equal(encoder.transform(frame), encoder.transform(table))


def test_a_polars_frame_gives_the_vectors_of_its_table(encoder: Encoder, table: pa.Table) -> None:
    frame = pl.from_arrow(table)
    np.testing.assert_array_equal(encoder.transform(frame), encoder.transform(table))


def test_the_label_is_not_needed(encoder: Encoder, table: pa.Table) -> None:
    encoder.transform(table.drop_columns(["late", "id", "at"]))


def test_missing_and_changed_columns_are_all_named(encoder: Encoder, table: pa.Table) -> None:
    broken = table.drop_columns(["amount"]).set_column(0, "flag", pa.array(["yes"] * len(table)))
    with pytest.raises(SchemaError, match=r"'amount'.*missing.*'flag'"):
        encoder.transform(broken.drop_columns(["id"]) if "id" in broken.column_names else broken)


def test_what_is_no_frame_is_refused(encoder: Encoder) -> None:
    with pytest.raises(DataError, match="found ndarray"):
        encoder.transform(np.zeros((3, 3)))


def test_an_encoder_says_what_it_is(bundle: Bundle, encoder: Encoder, tmp_path: Path) -> None:
    assert (encoder.dim, encoder.fingerprint) == (4, bundle.fingerprint)


@pytest.mark.parametrize(("widest", "rows"), [(1, 8192), (3_136, 256), (200_704, 16), (10**7, 1)])
def test_runs_of_wide_layers_are_short(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, table: pa.Table, widest: int, rows: int
) -> None:
    """Activations of an image may take a megabyte a row; those of 256 rows were never budgeted."""
    manifest = bundle.manifest.model_copy(update={"widest_layer": widest})
    encoder, found = Encoder(replace(bundle, manifest=manifest)), list[int]()
    run = encoder._core.run

    def counted(outputs: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        found.append(inputs["p2v/codes"].shape[1])
        return run(outputs, inputs)

    monkeypatch.setattr(encoder._core, "run", counted)
    encoder.transform(table.slice(0, 300))
    assert max(found) == min(rows, 300)
