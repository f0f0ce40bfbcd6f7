"""A convolutional model of two images and other columns: its bundle keeps what it promised."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export import export
from flows.inspection import inspect
from flows.screenful import text
from pipeline.bundle import Bundle
from pipeline.config import ColumnOverride, PixelColumns
from pipeline.encoder import Encoder
from pipeline.runtime import Session
from training.candidates import embed_rows
from training.checkpoint import Checkpoint
from training.fit import fit
from training.spec import TrainingConfig, TrainingJob

ROWS = 300


def make_table() -> pa.Table:
    """Photographs 5 x 7 in colour, channels last, tiles 3 x 4 in columns, a number, a category."""
    rng = np.random.default_rng(0)
    causes = rng.normal(size=(ROWS, 3))
    photo = (100 + 40 * causes @ rng.normal(size=(3, 105))).clip(0, 255).astype(np.uint8)
    tile = causes @ rng.normal(size=(3, 12)) + 0.1 * rng.normal(size=(ROWS, 12))
    tile[:, 5] = 1
    columns: dict[str, Any] = {
        f"p_{i}": pa.array(tile[:, i], mask=rng.random(ROWS) < (0.1 if i == 3 else 0))
        for i in range(12)
    }
    return pa.table(
        {
            "photo": pa.FixedSizeListArray.from_arrays(pa.array(photo.ravel()), 105),
            "age": pa.array(causes[:, 0], mask=rng.random(ROWS) < 0.1),
            "town": rng.choice(["Rome", "Oslo"], ROWS),
            **columns,
        }
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Bundle]:
    folder: Path = tmp_path_factory.mktemp("images")
    pq.write_table(make_table(), folder / "table.parquet")
    job = TrainingJob(
        source=str(folder / "table.parquet"),
        out=str(folder / "model"),
        recipe="conv",
        dim=3,
        columns={"photo": ColumnOverride(kind="image", shape=(5, 7, 3), channels="last")},
        images={"tile": PixelColumns(columns=("p_*",), shape=(3, 4))},
        training=TrainingConfig(steps=40, rows_per_batch=64, evaluate_every=20),
    )
    checkpoint = fit(job)
    return checkpoint, export(checkpoint, job.out)


def test_rows_have_the_same_bits_in_any_batch(made):
    steady = made[1].manifest.parity["steady"]
    files = ("encoder.onnx", "core.onnx", "decoder.onnx")
    assert [steady[name]["bit_identical"] for name in files] == [True] * 3


def test_images_are_convolved_in_the_exported_graphs(made):
    operators = {
        name: {node.op_type for node in onnx.load(made[1].path / name).graph.node}
        for name in ("core.onnx", "decoder.onnx")
    }
    assert "Conv" in operators["core.onnx"]
    assert "ConvTranspose" in operators["decoder.onnx"]


def test_the_bundle_embeds_as_the_model_does(made):
    checkpoint, bundle = made
    table = make_table()
    expected = embed_rows(checkpoint.module, checkpoint.prologue.run(table))
    assert np.abs(Encoder(bundle).transform(table) - expected).max() < 1e-5


def test_the_decoder_gives_pictures_back_in_their_own_order(made):
    _, bundle = made
    table = make_table()
    codes = Encoder(bundle).transform(table)
    decoder = Session((bundle.path / "decoder.onnx").read_bytes())
    photo, pixel = decoder.run(["photo", "p_11"], {"embedding": codes})
    true = np.stack(table["photo"].to_pylist()).astype(float)
    assert np.corrcoef(photo.ravel(), true.ravel())[0, 1] > 0.9
    assert np.corrcoef(pixel, table["p_11"].to_numpy())[0, 1] > 0.9


def test_the_bundle_tells_the_shapes_of_its_images(made):
    shapes = Bundle.open(made[1].path).manifest.feature_schema.shapes
    told = {name: str(shape) for name, shape in shapes.items()}
    assert told == {"photo": "5 x 7 x 3, channels last", "tile": "3 x 4"}


def test_inspect_shows_the_shapes(made):
    told = text(inspect(str(made[1].path)))
    assert "photo (5 x 7 x 3, channels last), tile (3 x 4)" in told
