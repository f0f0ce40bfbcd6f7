"""One table, one checkpoint and one export, made once and shared by every test of the folder."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from export import export
from export.models import build
from pipeline.bundle import Bundle
from pipeline.prologue import Prologue
from pipeline.schema_inference import infer
from training.autoencoder import Autoencoder
from training.checkpoint import Checkpoint
from training.layout import Layout
from training.spec import EncoderSpec
from training.split import Split

CITIES = np.array(["paris", "rome", "oslo", "日本", "São Paulo"], object)
NETWORK = {
    "recipe": "denoising",
    "view": "both",
    "trunk": "dense",
    "hidden": (32, 32),
    "category_width": 4,
}


def make_table(rows: int, *, seed: int = 0) -> pa.Table:
    """Every kind of column, most with nulls."""
    random = np.random.default_rng(seed)
    z = random.normal(size=(rows, 3))

    def nulls() -> Any:
        return random.random(rows) < 0.1

    return pa.table(
        {
            "amount": pa.array(np.exp(3 * z[:, 0]), mask=nulls()),
            "price": pa.array((3 * z[:, 1]).astype("f4"), mask=nulls()),
            "count": pa.array((50 * np.exp(z[:, 2])).astype("i8")),
            "id near 1e15": pa.array(1_700_000_000_000_000 + (1e6 * z[:, 1]).astype("i8")),
            "flag": pa.array(z[:, 2] > 0, mask=nulls()),
            "when": pa.array((1.7e15 + 1e12 * z[:, 2]).astype("i8"), mask=nulls()).cast(
                pa.timestamp("us")
            ),
            "ciudad": pa.array(CITIES[np.clip(1.2 * z[:, 0] + 2, 0, 4).astype(int)], mask=nulls()),
            "code": pa.array([f"k{k}" for k in random.integers(0, 40, rows)]),
            "pixels": pa.FixedSizeListArray.from_arrays(
                pa.array(random.normal(size=4 * rows).astype("f4")), 4
            ),
        }
    )


def make_checkpoint(
    table: pa.Table, *, dim: int = 4, module: type[Autoencoder] = Autoencoder, **spec: Any
) -> Checkpoint:
    """A checkpoint of random weights, its code standardised over `table`: nothing is trained."""
    schema = infer(table.schema, table)
    prologue = Prologue.fit(table.to_batches(), schema)
    choices = EncoderSpec(**{"recipe": "linear", "dim": dim, **spec})
    generator = torch.Generator().manual_seed(0)
    network = module(choices, Layout.of(prologue), generator=generator)
    if network.trunk is not None:  # it starts at zero, and would not be seen
        torch.nn.init.normal_(network.trunk[-1].weight, std=0.2, generator=generator)
    with torch.no_grad():
        prepared = (torch.from_numpy(matrix) for matrix in prologue.run(table))
        raw = network.eval().raw_code(*prepared)
        network.latent.calibrate(raw.mean(0), raw.std(0))
    return Checkpoint(
        spec=choices,
        schema=schema,
        prologue=prologue,
        module=network,
        split=Split("position"),
        held_out=table.slice(0, 200),
        history={"linear": {"loss": [1.0]}},
        selection={},
        training_data={"fingerprint": "0" * 64, "rows": table.num_rows},
        seed=0,
    )


@pytest.fixture(scope="session")
def new_table() -> Callable[..., pa.Table]:
    """Makes a table of every kind of column from a number of rows."""
    return make_table


@pytest.fixture(scope="session")
def new_checkpoint() -> Callable[..., Checkpoint]:
    """Makes an untrained checkpoint from a table; choices of the spec as keywords."""
    return make_checkpoint


@pytest.fixture(scope="session")
def table() -> pa.Table:
    """Rows that the shared checkpoint was fitted on."""
    return make_table(1_000)


@pytest.fixture(scope="session")
def checkpoint(table: pa.Table) -> Checkpoint:
    """A network with a trunk, both views of the numbers, and categories. Not to be changed."""
    return make_checkpoint(table, **NETWORK)


@pytest.fixture(scope="session")
def files(checkpoint: Checkpoint) -> dict[str, bytes]:
    """The ONNX files of the shared checkpoint."""
    models = build(checkpoint, version=version("parquet2vec"))
    return {name: model.SerializeToString(deterministic=True) for name, model in models.items()}


@pytest.fixture(scope="session")
def bundle(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The shared checkpoint, exported."""
    folder: Path = tmp_path_factory.mktemp("export") / "bundle"
    return export(checkpoint, folder)
