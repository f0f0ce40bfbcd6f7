"""Whatever a row holds, its vector is finite: nulls, NaN, infinities, subnormals, huge numbers.

The policy for infinities: fitting leaves them out of every statistic, and embedding clips them to
five standard deviations, as it does any other far value.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import Bundle, EmbeddingJob, Encoder, embed
from pipeline.prologue import Prologue
from pipeline.transforms import CLIP

ODD = [None, float("nan"), float("inf"), -float("inf"), 5e-324, -5e-324, -0.0, 1e308, -1e308, 1e-40]
NUMBERS = st.sampled_from(ODD) | st.none() | st.floats(allow_subnormal=True)
NARROW = st.sampled_from(ODD[:4]) | st.none() | st.floats(width=32, allow_subnormal=True)
INTS = st.none() | st.integers(-(2**63), 2**63 - 1)
MICROS = st.none() | st.integers(-(2**62), 2**62)
SECONDS = st.none() | st.integers(-(2**42), 2**42)
CENTS = st.none() | st.decimals(-(10**6), 10**6, places=2, allow_nan=False)
TEXT = st.none() | st.text()
ROW = st.fixed_dictionaries(
    {
        "amount": NUMBERS,
        "ratio": NARROW,
        "count": st.none() | st.integers(-128, 127),
        "price": CENTS,
        "big": INTS,
        "flag": st.none() | st.booleans(),
        "seen": MICROS,
        "zoned": SECONDS,
        "city": TEXT,
        "code": TEXT,
        "vector": st.none() | st.lists(NARROW, min_size=6, max_size=6),
    }
)


def as_table(rows: list[dict[str, object]], like: pa.Table) -> pa.Table:
    def column(name: str) -> pa.Array:
        type_, values = like.schema.field(name).type, [row[name] for row in rows]
        if pa.types.is_timestamp(type_):
            return pa.array(values, pa.int64()).cast(type_)
        if pa.types.is_dictionary(type_):
            return pa.array(values, pa.string()).dictionary_encode()
        return pa.array(values, type_)

    return pa.table({name: column(name) for name in rows[0]})


@given(st.lists(ROW, min_size=1, max_size=20))
@settings(max_examples=60)
def test_no_row_gives_a_vector_that_is_not_finite(
    bundle: Bundle, prologue: Prologue, table: pa.Table, rows: list[dict[str, object]]
) -> None:
    odd = as_table(rows, table)
    assert np.isfinite(Encoder(bundle).transform(odd)).all()
    prepared = prologue.run(odd)
    assert np.isfinite(prepared.numeric).all()
    assert np.abs(prepared.numeric).max() <= CLIP
    assert np.isfinite(prepared.ranked).all()


def test_an_infinite_number_is_taken_for_a_far_one(prologue: Prologue, table: pa.Table) -> None:
    def prepared(value: float) -> np.ndarray:
        place = table.column_names.index("amount")
        row = table.slice(0, 1).set_column(place, "amount", pa.array([value]))
        return np.concatenate([prologue.run(row).numeric, prologue.run(row).ranked], axis=1)

    np.testing.assert_array_equal(prepared(np.inf), prepared(1e300))
    np.testing.assert_array_equal(prepared(-np.inf), prepared(-1e300))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_nothing_but_odd_values_is_published_as_finite_vectors(
    bundle: Bundle, table: pa.Table, tmp_path: Path, dtype: str
) -> None:
    rows = table.slice(0, len(ODD))
    for name in ("amount", "ratio"):
        place = table.column_names.index(name)
        odd = pa.array(ODD).cast(rows.schema.field(name).type)
        rows = rows.set_column(place, name, odd)
    nulls = {n: pa.nulls(1, t) for n, t in zip(rows.schema.names, rows.schema.types, strict=True)}
    pq.write_table(pa.concat_tables([rows, pa.table(nulls)]), tmp_path / "x.parquet")
    paths = {"source": str(tmp_path / "x.parquet"), "destination": str(tmp_path / "to")}
    embed(EmbeddingJob.model_validate(paths | {"bundle": str(bundle.path), "dtype": dtype}))
    vectors = pq.read_table(tmp_path / "to/current")["embedding"].combine_chunks()
    assert vectors.null_count == 0
    assert np.isfinite(vectors.flatten().to_numpy()).all()
