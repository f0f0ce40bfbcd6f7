"""Images as images: what the layout says of them, and what convolutions make of it."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import ColumnOverride, PixelColumns
from pipeline.errors import ConfigError
from pipeline.prologue import Prepared, Prologue
from pipeline.schema_inference import infer
from training.autoencoder import Autoencoder
from training.candidates import BYTES_PER_RUN, ROWS_PER_RUN, embed_rows, rows_per_run, runs
from training.convolution import Columns, ConvDecoder, ConvTrunk, Pixels
from training.fit import fit
from training.layout import Image, Layout
from training.recipes import concrete
from training.spec import EncoderSpec, TrainingConfig, TrainingJob

ROWS = 240
SIDES = st.integers(1, 21)
SHORT = TrainingConfig(steps=30, rows_per_batch=64, evaluate_every=30)


def pictures(channels: int, height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """Smooth images [N, C, H, W] of three causes."""
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(ROWS, 3))
    bases = rng.normal(size=(3, channels * height * width)).cumsum(axis=1)
    return (causes @ bases).reshape(ROWS, channels, height, width).astype(np.float32)


def vector(values: np.ndarray) -> pa.Array:
    rows = values.reshape(len(values), -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])


def pixels(values: np.ndarray, prefix: str = "p_") -> dict[str, pa.Array]:
    return {
        f"{prefix}{i}": pa.array(one) for i, one in enumerate(values.reshape(len(values), -1).T)
    }


def fitted(
    table: pa.Table,
    columns: Mapping[str, Any] | None = None,
    images: Mapping[str, Any] | None = None,
) -> Prologue:
    schema = infer(
        table.schema,
        table,
        overrides={n: ColumnOverride(kind="image", **one) for n, one in (columns or {}).items()},
        images={name: PixelColumns(**one) for name, one in (images or {}).items()},
    )
    return Prologue.fit(table.to_batches(), schema)


def seen(prologue: Prologue, table: pa.Table) -> list[np.ndarray]:
    """What the first convolution over each image reads."""
    numeric = torch.from_numpy(prologue.run(table).numeric)
    return [Pixels(image)(numeric).numpy() for image in Layout.of(prologue).images]


def test_what_is_convolved_is_the_picture_but_for_one_shift_and_one_scale():
    values = pictures(3, 5, 7)
    values[:, :, 0, 0] = 40  # a constant corner: its mean is all there is of it
    table = pa.table({"photo": vector(values.transpose(0, 2, 3, 1))})
    prologue = fitted(table, {"photo": {"shape": (5, 7, 3), "channels": "last"}})
    (found,) = seen(prologue, table)
    assert np.corrcoef(found.ravel(), values.ravel())[0, 1] > 1 - 1e-6


@pytest.mark.parametrize("constant", [False, True])
def test_pixel_columns_and_a_vector_are_the_same_image(constant):
    values = pictures(1, 4, 6)
    values[:, 0, 2, 3] = 1.5 if constant else values[:, 0, 2, 3]
    tables = pa.table({"photo": vector(values)}), pa.table(pixels(values))
    one = seen(fitted(tables[0], {"photo": {"shape": (4, 6)}}), tables[0])[0]
    other = seen(fitted(tables[1], images={"i": {"columns": ["*"], "shape": (4, 6)}}), tables[1])[0]
    assert np.abs(one - other).max() < 1e-4


def test_pixel_columns_weigh_as_the_vector_they_could_be():
    values = pictures(1, 4, 6)
    one = Layout.of(fitted(pa.table({"photo": vector(values)}), {"photo": {"shape": (4, 6)}}))
    table = pa.table(pixels(values))
    other = Layout.of(fitted(table, images={"i": {"columns": ["p_*"], "shape": (4, 6)}}))
    assert sum(other.numeric_weights) == pytest.approx(math.sqrt(24))
    assert other.numeric_weights == pytest.approx(one.numeric_weights)
    assert (other.units, other.width) == (one.units, one.width) == (24, 24)


def test_missing_indicators_of_pixels_do_not_drown_the_image():
    columns = pixels(pictures(1, 4, 6))
    mask = np.random.default_rng(0).random(ROWS) < 0.1
    nulls = {name: pa.array(one.to_numpy(), mask=mask) for name, one in columns.items()}
    layout = Layout.of(fitted(pa.table(nulls), images={"i": {"columns": ["p_*"], "shape": (4, 6)}}))
    marks = [w for w, binary in zip(layout.numeric_weights, layout.binary, strict=True) if binary]
    assert len(marks) == 24
    assert sum(marks) == pytest.approx(0.5 * math.sqrt(24))


def image(channels: int, height: int, width: int, *, first: int = 0, name: str = "i") -> Image:
    count = channels * height * width
    slots = tuple(range(first, first + count))
    return Image(name, channels, height, width, slots, (0.0,) * count)


def layout_of(*images: Image, beside: int = 0) -> Layout:
    numbers = sum(len(one.slots) for one in images) + beside
    none = (False,) * numbers
    return Layout(
        numeric_units=tuple(range(numbers)),
        ranked_units=(),
        code_units=(),
        units=numbers,
        binary=none,
        numeric_missing=(-1,) * numbers,
        ranked_missing=(),
        numeric_weights=(1.0,) * numbers,
        ranked_weights=(),
        reranked=none,
        waves=none,
        cardinalities=(),
        classes=(),
        images=images,
    )


@settings(max_examples=25, deadline=None)
@given(channels=st.sampled_from([1, 3]), height=SIDES, width=SIDES, beside=st.integers(0, 2))
def test_any_shape_is_read_and_written(channels, height, width, beside):
    layout = layout_of(image(channels, height, width), beside=beside)
    model = Autoencoder(concrete("conv", dim=3), layout)
    numeric = torch.randn(4, len(layout.numeric_units))
    empty = torch.empty(4, 0)
    code = model.raw_code(numeric, empty, empty.long())
    assert code.shape == (4, 3)
    assert model.decode(code).numeric.shape == numeric.shape


def choices(**more: Any) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {"channels": (4,), "hidden": (8,), "generator": generator, **more}


def test_every_image_and_every_other_column_reaches_the_code():
    layout = layout_of(image(1, 5, 4), image(2, 3, 3, first=20, name="j"), beside=2)
    trunk = ConvTrunk(layout, 45, outputs=3, **choices())
    inputs = torch.randn(1, 45, requires_grad=True)
    trunk(inputs).sum().backward()
    assert inputs.grad is not None
    reached = inputs.grad[0] != 0
    assert reached[:20].float().mean() > 0.5  # Relu may silence what lies under one window
    assert reached[20:38].float().mean() > 0.5
    assert bool(reached[38:].all())


def test_the_decoder_writes_every_image_to_its_own_slots():
    """Scattered slots, a constant element, a number in between."""
    odd = Image("i", 1, 2, 2, (6, 0, -1, 3), (0.0,) * 4)
    even = Image("j", 1, 1, 2, (5, 1), (0.0,) * 2)
    decoder = ConvDecoder(layout_of(odd, even, beside=3), 8, inputs=2, **choices())
    torch.nn.init.zeros_(decoder.path.weight)
    torch.nn.init.zeros_(decoder.path.bias)
    with torch.no_grad():
        for number, part in enumerate([*decoder.images, decoder.beside], start=1):
            last = [one for one in part.modules() if getattr(one, "bias", None) is not None][-1]
            last.bias.fill_(number)
    assert decoder(torch.zeros(1, 2)).tolist() == [[1, 2, 3, 1, 3, 2, 1, 3]]


def test_columns_that_are_neighbours_are_not_copied():
    matrix = torch.arange(12.0).reshape(2, 6)
    assert Columns([2, 3, 4])(matrix).data_ptr() == matrix[:, 2:].data_ptr()
    assert Columns([4, 2])(matrix).tolist() == [[4, 2], [10, 8]]


@pytest.mark.parametrize("choice", [{"trunk": "conv"}, {"decoder": "conv"}])
def test_without_an_image_the_error_says_how_to_declare_one(choice):
    spec = EncoderSpec(recipe="mine", dim=2, **choice)
    with pytest.raises(ConfigError, match=r"recipe 'mine' must have an image .* none; declare one"):
        Autoencoder(spec, layout_of(beside=3))


def job(folder, table: pa.Table, **more: Any) -> TrainingJob:
    folder.mkdir()
    pq.write_table(table, folder / "t.parquet")
    settings = {"recipe": "conv", "dim": 3, "training": SHORT, **more}
    return TrainingJob(source=str(folder / "t.parquet"), out=str(folder / "b"), **settings)


def test_a_run_without_an_image_ends_before_the_table_is_read(tmp_path):
    table = pa.table({"x": np.arange(50.0), "photo": vector(pictures(1, 2, 2)[:50])})
    with pytest.raises(ConfigError, match="must have an image among the features, found none"):
        fit(job(tmp_path / "none", table))
    assert not (tmp_path / "none" / ".b.work").exists()


def test_the_same_image_given_either_way_has_the_same_embedding(tmp_path):
    values = pictures(1, 4, 6)
    tables = pa.table({"photo": vector(values)}), pa.table(pixels(values))
    said = (
        {"columns": {"photo": ColumnOverride(kind="image", shape=(4, 6))}},
        {"images": {"i": PixelColumns(columns=("p_*",), shape=(4, 6))}},
    )
    found = []
    for name, table, more in zip("ab", tables, said, strict=True):
        checkpoint = fit(job(tmp_path / name, table, **more))
        found.append(embed_rows(checkpoint.module, checkpoint.prologue.run(table)))
    assert np.abs(found[0] - found[1]).max() < 1e-2
    assert found[0].std() > 0.5


def test_images_and_other_columns_are_learnt_together(tmp_path):
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "photo": vector(pictures(3, 5, 7)),
            **pixels(pictures(1, 4, 6, seed=1)),
            "town": rng.choice(["Rome", "Oslo"], ROWS),
            "age": pa.array(rng.normal(size=ROWS), mask=rng.random(ROWS) < 0.1),
        }
    )
    checkpoint = fit(
        job(
            tmp_path / "both",
            table,
            columns={"photo": ColumnOverride(kind="image", shape=(3, 5, 7))},
            images={"tile": PixelColumns(columns=("p_*",), shape=(4, 6))},
        )
    )
    assert [one.name for one in checkpoint.module.layout.images] == ["photo", "tile"]
    before = checkpoint.prologue.run(table.slice(0, 1))
    for part in before._fields:
        values = getattr(before, part)
        other = before._replace(**{part: 1 + values})
        found = [embed_rows(checkpoint.module, rows) for rows in (before, other)]
        assert not np.array_equal(*found), part


def test_runs_of_large_images_have_so_few_rows_that_no_layer_takes_much_memory():
    small, large = (
        Autoencoder(concrete("conv", dim=2), layout_of(image(3, side, side))) for side in (8, 112)
    )
    widest = max(3 * 112**2, large.spec.channels[0] * 56**2)
    assert rows_per_run(small) == ROWS_PER_RUN
    assert 0.9 * BYTES_PER_RUN < rows_per_run(large) * 4 * widest <= BYTES_PER_RUN


def test_the_runs_of_a_model_are_all_of_its_rows(monkeypatch):
    monkeypatch.setattr("training.candidates.BYTES_PER_RUN", 4 * 7 * 16 * 4 * 4)
    model = Autoencoder(concrete("conv", dim=2), layout_of(image(1, 8, 8)))
    rows = np.random.default_rng(0).normal(size=(20, 64)).astype(np.float32)
    none, no_codes = np.empty((20, 0), np.float32), np.empty((20, 0), np.int64)
    found = [part.numeric for part in runs(model, Prepared(rows, none, no_codes))]
    assert max(map(len, found)) < 20
    assert np.array_equal(np.concatenate(found), rows)
