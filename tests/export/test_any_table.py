"""Tables nobody thought of: a few random ones, exported in full, tried on rows never seen."""

from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from export import export
from export.candidate import Candidate
from export.models import build
from export.runtime import Runtime
from export.verify import check_reference
from pipeline import Encoder
from pipeline.errors import SchemaError
from pipeline.feed import feed
from training.checkpoint import Checkpoint

ROWS = 60

texts = st.lists(st.text(max_size=6), min_size=1, max_size=8)
numbers = st.sampled_from([pa.float64(), pa.float32(), pa.int8(), pa.uint64(), pa.int64()])


@st.composite
def columns(draw: st.DrawFn) -> pa.Array:
    """One column of any kind that is not all null."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    nulls = random.random(ROWS) < draw(st.sampled_from([0.0, 0.2, 0.9]))
    nulls[:3] = False  # a column of nothing but nulls is refused
    kind = draw(st.sampled_from(["number", "category", "boolean", "timestamp", "vector"]))
    if kind == "category":
        words = draw(texts)
        values = [words[k % len(words)] for k in random.integers(0, 8, ROWS)]
        return pa.array(["a", *values[1:]], mask=nulls)
    if kind == "boolean":
        return pa.array(random.random(ROWS) < 0.5, mask=nulls)
    if kind == "timestamp":
        spread = draw(st.sampled_from([1, 10**9, 10**15]))
        micros = random.integers(-spread, spread + 1, ROWS)
        return pa.array(micros, mask=nulls).cast(
            pa.timestamp("us", draw(st.sampled_from([None, "UTC"])))
        )
    if kind == "vector":
        return pa.FixedSizeListArray.from_arrays(
            pa.array(random.normal(size=3 * ROWS).astype("f4")), 3
        )
    scale, shift = draw(st.sampled_from([(1, 0), (30, 64), (1e-9, 0), (1e12, 1e15), (0, 5)]))
    values = random.normal(size=ROWS) * scale + shift
    type_ = draw(numbers)
    if pa.types.is_integer(type_):
        limit = 127 if type_ == pa.int8() else 1e18
        values = np.clip(np.abs(values), 0, limit).astype("i8")
    return pa.array(values, mask=nulls).cast(type_)


@settings(max_examples=3, suppress_health_check=list(HealthCheck))
@given(
    drawn=st.dictionaries(st.text(min_size=1, max_size=8), columns(), min_size=1, max_size=6),
    view=st.sampled_from(["standardised", "both"]),
    trunk=st.sampled_from(["none", "dense"]),
)
def test_any_table_exports_and_embeds_rows_it_never_saw(
    new_checkpoint: Callable[..., Checkpoint],
    tmp_path_factory: pytest.TempPathFactory,
    drawn: dict[str, pa.Array],
    view: str,
    trunk: str,
) -> None:
    table = pa.table(drawn)
    try:
        checkpoint = new_checkpoint(
            table.slice(0, ROWS // 2), dim=2, view=view, trunk=trunk, hidden=(8,)
        )
    except SchemaError:
        reject()
    bundle = export(checkpoint, tmp_path_factory.mktemp("any") / "bundle")
    found = Encoder.open(bundle.path).transform(table)
    assert found.shape == (ROWS, 2) and np.isfinite(found).all()
    whole = Runtime(bundle.read("encoder.onnx"))(feed(table, checkpoint.schema))["embedding"]
    np.testing.assert_array_equal(found, whole)


def test_thousands_of_elements_add_up_alike_in_every_runtime(
    new_checkpoint: Callable[..., Checkpoint],
) -> None:
    pixels = np.random.default_rng(0).integers(0, 60, (ROWS, 3072)).astype("u1")
    table = pa.table({"photo": pa.FixedSizeListArray.from_arrays(pa.array(pixels.ravel()), 3072)})
    checkpoint = new_checkpoint(table, dim=4)
    models = build(checkpoint, version=version("parquet2vec"))
    files = {name: model.SerializeToString() for name, model in models.items()}
    figures = check_reference(Candidate(files, checkpoint))
    assert figures["scorer.onnx"] < 5e-6


def test_texts_that_end_in_nul_are_no_difference(
    new_checkpoint: Callable[..., Checkpoint],
) -> None:
    words = ["\0", "a\0", "a", "b\0c", None]
    table = pa.table({"word": [words[i % 5] for i in range(ROWS)], "n": np.arange(float(ROWS))})
    checkpoint = new_checkpoint(table, dim=2)
    models = build(checkpoint, version=version("parquet2vec"))
    files = {name: model.SerializeToString() for name, model in models.items()}
    check_reference(Candidate(files, checkpoint))
