"""A trained encoder before export, with all that export and evaluation need to know of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.manifest import Prior
from pipeline.prologue import Prologue
from pipeline.schema import FeatureSchema
from training.autoencoder import Autoencoder
from training.layout import Layout
from training.spec import EncoderSpec
from training.split import Split
from training.tensors import read_tensors, replace, write_tensors

WEIGHTS, HELD_OUT, RECORD = "weights.safetensors", "held_out.parquet", "checkpoint.json"
PROFILED = "profiled.parquet"


@dataclass
class Checkpoint:
    """What `training.fit` gives and `export.export` takes.

    `module` is in eval mode. `held_out` holds at most 2,000 raw validation rows, features only.
    `history` gives each candidate's curve; `selection` says what was compared, the candidates'
    scores, the winner and its margin. `training_data` names the source: fingerprint and rows.
    `prior` says how the embeddings are spread. `profiled` holds the raw rows that the bundle's
    profile counts, with their blocks (`training.blocks`).
    """

    spec: EncoderSpec
    schema: FeatureSchema
    prologue: Prologue
    module: Autoencoder
    split: Split
    held_out: pa.Table
    history: dict[str, Any]
    selection: dict[str, Any]
    training_data: dict[str, Any]
    seed: int
    prior: Prior | None = None
    profiled: pa.Table | None = None

    def save(self, folder: Path) -> None:
        """Write the checkpoint; the record comes last, so that it is there only when all is."""
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder / WEIGHTS, self.module.state_dict(), {})
        for name, rows in ((HELD_OUT, self.held_out), (PROFILED, self.profiled)):
            if rows is not None:
                replace(folder / name, parquet_bytes(rows))
        record = {
            "spec": self.spec.model_dump(mode="json"),
            "schema": self.schema.model_dump(mode="json"),
            "prologue": self.prologue.to_json(),
            "split": self.split.to_json(),
            "history": self.history,
            "selection": self.selection,
            "training_data": self.training_data,
            "seed": self.seed,
            "prior": None if self.prior is None else self.prior.model_dump(mode="json"),
        }
        replace(folder / RECORD, json.dumps(record).encode())

    @staticmethod
    def load(folder: Path) -> Checkpoint:
        """The checkpoint that `save` left in `folder`."""
        record = json.loads((folder / RECORD).read_bytes())
        prologue = Prologue.from_json(record["prologue"])
        spec = EncoderSpec.model_validate(record["spec"])
        module = Autoencoder(spec, Layout.of(prologue))
        module.load_state_dict(read_tensors(folder / WEIGHTS)[0])
        return Checkpoint(
            spec=spec,
            schema=FeatureSchema.model_validate(record["schema"]),
            prologue=prologue,
            module=module.eval(),
            split=Split.from_json(record["split"]),
            held_out=pq.read_table(folder / HELD_OUT),
            history=record["history"],
            selection=record["selection"],
            training_data=record["training_data"],
            seed=int(record["seed"]),
            prior=None if (said := record.get("prior")) is None else Prior.model_validate(said),
            profiled=pq.read_table(profiled) if (profiled := folder / PROFILED).exists() else None,
        )


def parquet_bytes(table: pa.Table) -> bytes:
    """`table` as the bytes of a Parquet file."""
    buffer = pa.BufferOutputStream()
    # Lists keep the names of their elements: bundles tell the types of the table's columns.
    pq.write_table(table, buffer, use_compliant_nested_type=False)
    return buffer.getvalue().to_pybytes()  # type: ignore[no-any-return]
