import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from export.merge import cut, join
from export.runtime import Runtime


def model_of(nodes: list[onnx.NodeProto], inputs: str, outputs: str) -> onnx.ModelProto:
    def values(names: str) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"])
            for name in names.split()
        ]

    graph = helper.make_graph(nodes, "test", values(inputs), values(outputs))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.fixture
def two_answers() -> onnx.ModelProto:
    nodes = [helper.make_node("Neg", ["a"], ["less"]), helper.make_node("Abs", ["b"], ["size"])]
    return model_of(nodes, "a b", "less size")


def test_a_cut_reads_only_what_its_outputs_need(two_answers: onnx.ModelProto) -> None:
    part = cut(two_answers, inputs=["a", "b"], outputs=["size"])
    assert [one.name for one in part.graph.input] == ["b"]
    assert [node.op_type for node in part.graph.node] == ["Abs"]


def test_a_cut_that_needs_another_input_is_refused(two_answers: onnx.ModelProto) -> None:
    with pytest.raises(ValueError, match=r"found \{'a'\}"):
        cut(two_answers, inputs=["b"], outputs=["less"])


def test_a_cut_orders_outputs_as_asked(two_answers: onnx.ModelProto) -> None:
    part = cut(two_answers, inputs=["a", "b"], outputs=["size", "less"])
    assert [one.name for one in part.graph.output] == ["size", "less"]


def test_joined_graphs_compute_one_after_the_other(two_answers: onnx.ModelProto) -> None:
    second = model_of([helper.make_node("Mul", ["p", "p"], ["y"])], "p", "y")
    joined = join(two_answers, second, wires={"less": "p"})
    assert [one.name for one in joined.graph.input] == ["a", "b"]
    feeds = {name: np.array([3.0], np.float32) for name in "ab"}
    assert Runtime(joined)(feeds) == {"y": np.array([9.0])}


def test_an_input_left_open_is_refused(two_answers: onnx.ModelProto) -> None:
    second = model_of([helper.make_node("Mul", ["p", "q"], ["y"])], "p q", "y")
    with pytest.raises(ValueError, match=r"found open: \['q'\]"):
        join(two_answers, second, wires={"less": "p"})


def test_a_name_in_both_graphs_is_refused(two_answers: onnx.ModelProto) -> None:
    second = model_of([helper.make_node("Neg", ["p"], ["size"])], "p", "size")
    with pytest.raises(ValueError, match=r"found in both graphs: \['size'\]"):
        join(two_answers, second, wires={"less": "p"})
