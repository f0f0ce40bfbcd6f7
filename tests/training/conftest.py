from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.config import ColumnOverride
from pipeline.prologue import Prologue
from pipeline.schema_inference import infer
from pipeline.transforms import Classes
from training.candidates import training_moments
from training.layout import Layout
from training.matrix import Matrix, MatrixWriter
from training.principal import Moments

ROWS = 1000

# Two threads on two busy cores wait for each other longer than they compute.
torch.set_num_threads(1)


def make_table(rows: int = ROWS, seed: int = 0) -> pa.Table:
    """Every kind of column, driven by three hidden causes, with nulls and rare categories."""
    rng = np.random.default_rng(seed)
    cause = rng.normal(size=(rows, 3))
    income = np.exp(cause[:, 0] + 0.1 * rng.normal(size=rows))
    age = 40 + 10 * cause[:, 1] + rng.normal(size=rows)
    spend = cause[:, 0] * cause[:, 1] + 0.1 * rng.normal(size=rows)
    city = np.array(["Ålesund", "Basel", "Cork", "Dún"])[np.digitize(cause[:, 2], [-1, 0, 1])]
    plan = np.where(cause[:, 0] > 1, "gold", np.where(cause[:, 1] > 0, "silver", "none"))
    picture = (cause @ rng.normal(size=(3, 6)) + 0.2 * rng.normal(size=(rows, 6))).astype("f4")
    day = 86_400_000_000 * (19_000 + np.arange(rows) // 3)
    return pa.table(
        {
            "id": pa.array(np.arange(rows) + 2**60),
            "income": pa.array(income, mask=rng.random(rows) < 0.2),
            "age": pa.array(age),
            "spend": pa.array(spend, mask=rng.random(rows) < 0.05),
            "member": pa.array(cause[:, 0] + cause[:, 2] > 0),
            "city": pa.array(city, mask=rng.random(rows) < 0.1),
            "plan": pa.array(plan).dictionary_encode(),
            "picture": pa.FixedSizeListArray.from_arrays(pa.array(picture.ravel()), 6),
            "seen": pa.array(day, pa.timestamp("us")),
            "label": pa.array(np.where(spend > 0, "yes", "no")),
        }
    )


@dataclass(frozen=True)
class Rows:
    table: pa.Table
    prologue: Prologue
    layout: Layout
    matrix: Matrix
    moments: Moments


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """A prepared table of `ROWS` rows: 60 % training, 30 % validation, 10 % test."""
    table = make_table()
    image = {"picture": ColumnOverride(kind="image", shape=(2, 3))}
    schema = infer(table.schema, table, keys=["id"], labels=["label"], overrides=image)
    split = np.random.default_rng(1).choice([0] * 6 + [1] * 3 + [2], ROWS).astype(np.uint8)
    train = table.filter(pa.array(split == 0)).combine_chunks().to_batches()
    prologue = Prologue.fit(train, schema)
    prologue.label = Classes("label", "text", ("no", "yes"))
    folder = tmp_path_factory.mktemp("matrix")
    labels = np.array(table["label"].to_pylist()) == "yes"
    with MatrixWriter(
        folder,
        numbers=len(prologue.numeric_slots),
        ranks=len(prologue.ranked_slots),
        categories=len(prologue.code_columns),
        labels=1,
    ) as writer:
        prepared = prologue.run(table)
        writer.append(prepared, split=split, labels=labels[:, None].astype(float))
    matrix, layout = Matrix.open(folder), Layout.of(prologue)
    return Rows(table, prologue, layout, matrix, training_moments(matrix, layout))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The same table as two Parquet files in a folder."""
    folder = tmp_path / "source"
    folder.mkdir()
    table = make_table()
    pq.write_table(table.slice(0, 600), folder / "a.parquet")
    pq.write_table(table.slice(600), folder / "b.parquet")
    return folder
