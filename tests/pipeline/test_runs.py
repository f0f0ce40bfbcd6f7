"""Models with wide layers run on few rows at a time, whoever runs them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import helper, numpy_helper

from pipeline.bundle import Bundle
from pipeline.decoding import NUMERIC, Decoder
from pipeline.encoder import Scorer
from pipeline.feed import feed
from pipeline.runs import widest_layer
from pipeline.runtime import Session

WIDTH = 2**17
ROWS = 32
"""Of this width that 16 MiB hold."""


def behind(graph: onnx.GraphProto, name: str, *, width: int, output: str) -> None:
    """Put a layer of `WIDTH` behind the tensor `name` [rows, width], and its mean as `output`."""
    random = np.random.default_rng(0)
    graph.initializer.append(
        numpy_helper.from_array(random.normal(size=(width, WIDTH)).astype("f4"), "t/weights")
    )
    graph.initializer.append(numpy_helper.from_array(np.array([1]), "t/axes"))
    graph.node.append(helper.make_node("MatMul", [name, "t/weights"], ["t/wide"]))
    graph.node.append(helper.make_node("ReduceMean", ["t/wide", "t/axes"], [output], keepdims=0))


@pytest.fixture
def rows_of(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of every run of any session, in order."""
    found, run = list[int](), Session.run

    def counted(self: Session, outputs: Any, inputs: Any) -> Any:
        found.append(len(next(iter(inputs.values()))))
        return run(self, outputs, inputs)

    monkeypatch.setattr(Session, "run", counted)
    return found


def test_a_scorer_runs_few_rows_of_wide_layers_at_a_time(
    bundle: Bundle, table: pa.Table, tmp_path: Path, rows_of: list[int]
) -> None:
    model = onnx.load_model_from_string(bundle.read("encoder.onnx"))
    behind(model.graph, "embedding", width=4, output="reconstruction_error")
    shape = ["batch"]
    model.graph.output.append(helper.make_tensor_value_info("reconstruction_error", 1, shape))
    content = model.SerializeToString()
    files = {name: bundle.read(name) for name in bundle.manifest.files} | {"scorer.onnx": content}
    manifest = bundle.manifest.model_copy(update={"files": {}})
    scorer = Scorer(Bundle.write(tmp_path / "scored", manifest=manifest, files=files))
    few = table.slice(0, 100).combine_chunks().to_batches()[0]
    found = scorer.score(few)
    assert rows_of == [ROWS, ROWS, ROWS, 4]
    inputs = feed(few, bundle.manifest.feature_schema)
    (whole,) = Session(content).run(["reconstruction_error"], inputs)
    np.testing.assert_allclose(found, whole, rtol=1e-5)


def test_a_decoder_runs_few_rows_of_wide_layers_at_a_time(rows_of: list[int]) -> None:
    graph = onnx.GraphProto(name="decoder")
    graph.input.append(helper.make_tensor_value_info("embedding", 1, ["batch", 2]))
    behind(graph, "embedding", width=2, output="t/mean")
    graph.node.append(helper.make_node("Unsqueeze", ["t/mean", "t/axes"], [NUMERIC]))
    graph.output.append(helper.make_tensor_value_info(NUMERIC, 1, ["batch", 1]))
    opset = [helper.make_opsetid("", 18)]
    content = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    codes = np.random.default_rng(1).normal(size=(70, 2)).astype(np.float32)
    found = Decoder(content, numeric=1, logits=0)(codes, {})
    assert rows_of == [ROWS, ROWS, 6]
    weights = numpy_helper.to_array(graph.initializer[0])
    np.testing.assert_allclose(found.numeric[:, 0], (codes @ weights).mean(1), atol=1e-5)


def test_the_widest_layer_is_that_of_the_results_that_grow_with_the_rows() -> None:
    graph = onnx.GraphProto(name="one")
    graph.input.append(helper.make_tensor_value_info("embedding", 1, ["batch", 2]))
    behind(graph, "embedding", width=2, output="mean")
    graph.output.append(helper.make_tensor_value_info("mean", 1, ["batch"]))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    assert widest_layer(model) == WIDTH
