"""Tables and encoders of any shape, made from a few numbers; nothing is trained or downloaded.

The encoder is a real bundle: the fitted prologue in front of dense layers of random weights, with
one table of vectors for all categories, cut into the same files that export writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper

from pipeline.bundle import FORMAT, Bundle, Manifest
from pipeline.encoder import Encoder
from pipeline.profile import TRAINING_PROFILE
from pipeline.profiling import Sample, places_of, profile_of, things_of
from pipeline.prologue import CODED, NUMERIC, RANKED, Prologue
from pipeline.schema_inference import infer

CELL = 8
SAMPLE = 20_000
BLOCKS = 6
MIDNIGHT = 1_760_000_000_000_000


@dataclass(frozen=True)
class Workload:
    """The shape of a table and of its encoder.

    `layers` are the widths of the dense layers, the last one the width of the embedding. `vector`
    is the length of one float32 vector column, 0 for none. The encoder is fitted to `sample` rows;
    if it is `profiled`, its bundle counts them in six blocks, and every run counts its own.
    """

    name: str
    rows: int
    numeric: int
    layers: tuple[int, ...]
    double: bool = False
    null_share: float = 0.0
    cardinalities: tuple[int, ...] = ()
    vector: int = 0
    ranked: bool = False
    activation: Literal["relu", "silu"] = "relu"
    sample: int = SAMPLE
    files: int = 4
    rows_per_group: int = 131_072
    profiled: bool = False

    def table(self, rows: int, *, seed: int) -> pa.Table:
        """`rows` random rows; equal seeds give equal rows."""
        random = np.random.default_rng(seed)
        columns: dict[str, pa.Array] = {
            "row_id": pa.array(seed * 10**9 + np.arange(rows)),
            "event_time": pa.array(MIDNIGHT + np.arange(rows) * 1_000_000, pa.timestamp("us")),
        }
        for index in range(self.numeric):
            columns[f"n{index}"] = self._numbers(random, rows)
        for index, cardinality in enumerate(self.cardinalities):
            columns[f"c{index}"] = self._category(random, rows, index, cardinality)
        if self.vector:
            values = random.standard_normal(rows * self.vector, np.float32)
            columns["v"] = pa.FixedSizeListArray.from_arrays(pa.array(values), self.vector)
        return pa.table(columns)

    def _numbers(self, random: np.random.Generator, rows: int) -> pa.Array:
        values = random.standard_normal(rows, np.float64 if self.double else np.float32)
        mask = random.random(rows) < self.null_share if self.null_share else None
        return pa.array(values, mask=mask)

    def _category(
        self, random: np.random.Generator, rows: int, index: int, cardinality: int
    ) -> pa.Array:
        # Squaring makes small codes frequent, as in real columns.
        codes = (random.random(rows) ** 2 * cardinality).astype(np.int32)
        mask = random.random(rows) < self.null_share if self.null_share else None
        texts = pa.array([f"c{index}_{value}" for value in range(cardinality)])
        return pa.DictionaryArray.from_arrays(pa.array(codes, mask=mask), texts).cast(pa.string())

    def write(self, folder: Path) -> Path:
        """Write the table as Parquet files below `folder`, once; returns their folder."""
        data = folder / "data"
        if not data.exists():
            stage = folder / "data.tmp"
            stage.mkdir(parents=True, exist_ok=True)
            for index in range(self.files):
                rows = self.rows // self.files + (index < self.rows % self.files)
                path = stage / f"part-{index:05d}.parquet"
                pq.write_table(
                    self.table(rows, seed=index),
                    path,
                    row_group_size=self.rows_per_group,
                    write_page_checksum=True,
                )
            stage.rename(data)
        return data

    def bundle(self, folder: Path) -> Bundle:
        """Write the encoder's bundle below `folder`, once."""
        path = folder / "bundle"
        if path.exists():
            return Bundle.open(path)
        sample = self.table(self.sample, seed=10_000)
        schema = infer(sample.schema, sample, keys=["row_id"], event_time="event_time")
        prologue = Prologue.fit(sample.to_batches(), schema)
        files = {
            "encoder.onnx": self._encoder(prologue, prologue.to_model()),
            "core.onnx": self._encoder(prologue, prologue.body_model()),
        }
        if lookup := prologue.lookup_model():
            files["lookup.onnx"] = lookup.SerializeToString()
        manifest = Manifest(
            format=FORMAT,
            feature_schema=schema,
            dim=self.layers[-1],
            recipe="random",
            latent_names=tuple(f"embedding_{i}" for i in range(self.layers[-1])),
            widest_layer=max(self._width(prologue), *self.layers),
            training_data={"fingerprint": "random", "rows": self.sample},
            split={},
            versions={},
            parity={},
        )
        if self.profiled:
            plain = Bundle.write(folder / "unprofiled", manifest=manifest, files=files)
            files[TRAINING_PROFILE] = _profile(plain, sample)
        return Bundle.write(path, manifest=manifest, files=files)

    def _width(self, prologue: Prologue) -> int:
        ranked = len(prologue.ranked_slots) if self.ranked else 0
        return len(prologue.numeric_slots) + ranked + CELL * len(prologue.code_columns)

    def _encoder(self, prologue: Prologue, model: onnx.ModelProto) -> bytes:
        """`model`, from columns or blocks to a matrix, followed by the dense layers."""
        random = np.random.default_rng(7)
        graph = model.graph
        inputs = [o.name for o in graph.output if o.name == NUMERIC]
        inputs += [o.name for o in graph.output if o.name == RANKED and self.ranked]
        if cards := prologue.cardinalities:
            inputs.append(_cells(graph, cards, random))
        graph.node.append(helper.make_node("Concat", inputs, ["b/0"], axis=1))
        widths = (self._width(prologue), *self.layers)
        for index, (rows, columns) in enumerate(pairwise(widths)):
            weight = random.standard_normal((rows, columns), np.float32) * np.sqrt(2 / rows)
            names = [
                _constant(graph, f"b/w{index}", weight.astype(np.float32)),
                _constant(graph, f"b/b{index}", np.zeros(columns, np.float32)),
            ]
            last = index == len(self.layers) - 1
            out = "embedding" if last else f"b/z{index}"
            graph.node.append(helper.make_node("Gemm", [f"b/{index}", *names], [out]))
            if not last:
                graph.node.extend(self._activated(out, f"b/{index + 1}"))
        del graph.output[:]
        shape: list[str | int] = ["batch", self.layers[-1]]
        graph.output.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, shape))
        _prune(graph)
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())

    def _activated(self, value: str, out: str) -> list[onnx.NodeProto]:
        if self.activation == "relu":
            return [helper.make_node("Relu", [value], [out])]
        gate = f"{out}/gate"
        return [
            helper.make_node("Sigmoid", [value], [gate]),
            helper.make_node("Mul", [value, gate], [out]),
        ]


def _profile(bundle: Bundle, table: pa.Table) -> bytes:
    """What a bundle that was trained on `table` knows of it."""
    encoder, samples = Encoder(bundle), []
    rows = -(-table.num_rows // BLOCKS)
    for batch in table.combine_chunks().to_batches(max_chunksize=rows):
        inputs = encoder.inputs(batch)
        sample = Sample(places_of(batch.num_rows, batch.num_rows))
        sample.add(inputs, encoder.encode_inputs(inputs), None)
        samples.append(sample)
    things = things_of(encoder.schema, dim=encoder.dim, scored=False)
    return profile_of(samples, things, labels={}, rows=table.num_rows).to_bytes()


def _cells(graph: onnx.GraphProto, cards: Sequence[int], random: np.random.Generator) -> str:
    offsets = np.cumsum([0, *cards[:-1]]).astype(np.int64)
    rows = random.standard_normal((sum(cards), CELL), np.float32)
    names = [_constant(graph, "b/offsets", offsets), _constant(graph, "b/table", rows)]
    shape = _constant(graph, "b/shape", np.array([-1, CELL * len(cards)]))
    graph.node.extend(
        [
            helper.make_node("Add", [CODED, names[0]], ["b/places"]),
            helper.make_node("Gather", [names[1], "b/places"], ["b/gathered"]),
            helper.make_node("Reshape", ["b/gathered", shape], ["b/cells"]),
        ]
    )
    return "b/cells"


def _constant(graph: onnx.GraphProto, name: str, values: npt.NDArray[np.generic]) -> str:
    graph.initializer.append(numpy_helper.from_array(values, name))
    return name


def _prune(graph: onnx.GraphProto) -> None:
    """Remove what leads to no output: the rank-gauss view where the encoder does not read it."""
    needed, kept = {"embedding"}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    constants = [c for c in graph.initializer if c.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(constants)


# Name: rows, numeric columns, layers; the first four are those of the first measurements, the
# others were never used to choose a setting.
WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("floats-64", 2_000_000, 64, (256, 128, 16), files=8),
        Workload("floats-512", 500_000, 512, (512, 256, 32), files=8),
        Workload(
            "mixed-40-10",
            1_000_000,
            40,
            (256, 128, 16),
            double=True,
            null_share=0.05,
            cardinalities=(5, 8, 12, 20, 40, 80, 150, 400, 1000, 2000),
            activation="silu",
            files=8,
        ),
        Workload("floats-16", 5_000_000, 16, (64, 8), files=8),
        Workload(
            "mixed-200-30",
            400_000,
            200,
            (256, 128, 32),
            double=True,
            null_share=0.1,
            cardinalities=(3, 6, 10, 25, 60, 150) * 5,
            files=8,
        ),
        Workload("vector-256", 1_000_000, 0, (256, 128, 32), vector=256, files=8),
        Workload(
            "categories",
            2_000_000,
            4,
            (64, 16),
            null_share=0.02,
            cardinalities=(20_000, 20_000, 5_000, 2_000, 500, 100),
            sample=200_000,
            files=8,
        ),
    )
}
