"""Tables of every kind, and a bundle made without torch: the prologue and one matrix product."""

import decimal
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import helper, numpy_helper

from pipeline.bundle import Bundle, Manifest
from pipeline.encoder import Encoder
from pipeline.profile import TRAINING_PROFILE
from pipeline.profiling import Sample, places_of, profile_of, things_of
from pipeline.prologue import CODED, NUMERIC, Prologue
from pipeline.schema import FeatureSchema
from pipeline.schema_inference import infer

DIM = 4


def mixed_table(rows: int, *, seed: int = 0) -> pa.Table:
    """A table with a column of every kind that a schema knows, nulls and odd values in them."""
    random = np.random.default_rng(seed)

    def some() -> np.ndarray:
        return random.random(rows) < 0.1

    cents = random.integers(0, 9999, rows)
    return pa.table(
        {
            "id": pa.array(2**53 + 1 + np.arange(rows)),
            "at": pa.array(np.arange(rows) * 60_000_000, pa.timestamp("us")),
            "amount": pa.array(np.exp(3 * random.normal(size=rows)), mask=some()),
            "ratio": pa.array(random.normal(size=rows).astype(np.float32)),
            "count": pa.array(random.integers(0, 5, rows).astype(np.int8), mask=some()),
            "price": pa.array(
                [decimal.Decimal(int(c)).scaleb(-2) for c in cents], pa.decimal128(9, 2)
            ),
            "big": pa.array(1_700_000_000_000_000 + random.integers(0, 10**6, rows)),
            "flag": pa.array(random.random(rows) > 0.3, mask=some()),
            "seen": pa.array(
                (1.7e15 + random.normal(size=rows) * 1e13).astype(np.int64), mask=some()
            ).cast(pa.timestamp("us")),
            "zoned": pa.array((1.7e9 + random.normal(size=rows) * 1e7).astype(np.int64)).cast(
                pa.timestamp("s", tz="Europe/Paris")
            ),
            "city": pa.array(
                np.array(["paris", "日本", "São Paulo", ""], object)[random.integers(0, 4, rows)],
                pa.string(),
                mask=some(),
            ),
            "code": pa.array([f"k{i}" for i in random.integers(0, 40, rows)]).dictionary_encode(),
            "vector": pa.FixedSizeListArray.from_arrays(
                pa.array(random.normal(size=rows * 6).astype(np.float32)), 6
            ),
            "late": pa.array(random.integers(0, 2, rows)),
        }
    )


@pytest.fixture(scope="session")
def table() -> pa.Table:
    return mixed_table(3_000)


@pytest.fixture(scope="session")
def schema(table: pa.Table) -> FeatureSchema:
    return infer(table.schema, table.slice(0, 100), keys=["id"], labels=["late"], event_time="at")


@pytest.fixture(scope="session")
def prologue(table: pa.Table, schema: FeatureSchema) -> Prologue:
    return Prologue.fit(table.to_batches(777), schema)


def with_projection(model: onnx.ModelProto, *, numeric: int, cards: tuple[int, ...]) -> bytes:
    """`model` followed by fixed random projections of its numbers and codes to an embedding."""
    random = np.random.default_rng(7)
    graph, sums = model.graph, []

    def constant(array: np.ndarray) -> str:
        name = f"t/{len(graph.initializer)}"
        graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def node(op: str, *inputs: str, output: str, **attributes: int) -> str:
        graph.node.append(helper.make_node(op, list(inputs), [output], **attributes))
        return output

    if numeric:
        weights = constant(random.normal(size=(numeric, DIM)).astype(np.float32))
        sums.append(node("MatMul", NUMERIC, weights, output="t/numbers"))
    for place, card in enumerate(cards):
        rows = constant(random.normal(size=(card, DIM)).astype(np.float32))
        at = node("Gather", CODED, constant(np.array(place)), output=f"t/at{place}", axis=1)
        sums.append(node("Gather", rows, at, output=f"t/code{place}", axis=0))
    node("Sum", *sums, output="embedding")
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("embedding", 1, ["batch", DIM]))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def write_bundle(path: Path, prologue: Prologue) -> Bundle:
    shape = {"numeric": len(prologue.numeric_slots), "cards": prologue.cardinalities}
    files = {
        "encoder.onnx": with_projection(prologue.to_model(), **shape),
        "core.onnx": with_projection(prologue.body_model(), **shape),
    }
    if lookup := prologue.lookup_model():
        files["lookup.onnx"] = lookup.SerializeToString()
    manifest = Manifest(
        format=1,
        feature_schema=prologue.schema,
        dim=DIM,
        recipe="projection",
        latent_names=tuple(f"embedding_{i}" for i in range(DIM)),
        widest_layer=max(1, shape["numeric"]),
        training_data={"fingerprint": "none", "rows": 3_000},
        split={},
        versions={},
        parity={},
    )
    return Bundle.write(path, manifest=manifest, files=files)


@pytest.fixture(scope="session")
def bundle(prologue: Prologue, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "mixed", prologue)


@pytest.fixture
def make_table() -> Callable[..., pa.Table]:
    return mixed_table


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of three files with several row groups each."""
    folder = tmp_path / "table"
    folder.mkdir()
    for index in range(3):
        rows = mixed_table(1_000, seed=index)
        pq.write_table(rows, folder / f"day-{index}.parquet", row_group_size=300)
    return folder


@pytest.fixture
def bundle_of(tmp_path: Path) -> Callable[..., Bundle]:
    """Makes a bundle from a table: `bundle_of(table, keys=["id"])`."""

    def make(table: pa.Table, **roles: object) -> Bundle:
        contract = infer(table.schema, table, **roles)
        fitted = Prologue.fit(table.to_batches(), contract)
        return write_bundle(tmp_path / "bundles" / contract.fingerprint[:8], fitted)

    return make


def profile_of_tables(bundle: Bundle, path: Path, tables: Sequence[pa.Table]) -> Bundle:
    """`bundle` at `path`, with the profile of a training table of some files."""
    encoder, samples = Encoder(bundle), []
    for table in tables:
        (batch,) = table.combine_chunks().to_batches()
        inputs = encoder.inputs(batch)
        sample = Sample(places_of(batch.num_rows, batch.num_rows))
        sample.add(inputs, encoder.encode_inputs(inputs), None)
        samples.append(sample)
    things = things_of(encoder.schema, dim=encoder.dim, scored=False)
    rows = sum(table.num_rows for table in tables)
    profile = profile_of(samples, things, labels={}, rows=rows).to_bytes()
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    return Bundle.write(path, manifest=bundle.manifest, files=files | {TRAINING_PROFILE: profile})


@pytest.fixture(scope="session")
def profiled() -> Callable[[Bundle, Path, Sequence[pa.Table]], Bundle]:
    """Adds a training profile to a bundle: `profiled(bundle, path, tables)`."""
    return profile_of_tables
