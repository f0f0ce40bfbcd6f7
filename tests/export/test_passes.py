import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.passes import (
    IR_VERSION,
    bypass_identities,
    check_operators,
    drop_auto_pad,
    number_tensors,
    prune,
    rename_tensors,
    set_properties,
    strip_metadata,
    tidy,
    unify_opsets,
)
from export.runtime import Runtime
from pipeline.errors import ParityError

ROW = {"x": np.array([1.0, -2.0, 3.0], np.float32)}


def model_of(*nodes: onnx.NodeProto, outputs: tuple[str, ...] = ("y",)) -> onnx.ModelProto:
    shape = ["batch"]
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in outputs],
        [numpy_helper.from_array(np.array([2.0], np.float32), name) for name in ("two", "spare")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture
def model() -> onnx.ModelProto:
    """y = 2 |x|, with a dead end and a copy on the way."""
    return model_of(
        helper.make_node("Abs", ["x"], ["size"]),
        helper.make_node("Neg", ["x"], ["dead"]),
        helper.make_node("Identity", ["size"], ["copy"], doc_string="/home/me/secret.py:1"),
        helper.make_node("Mul", ["copy", "two"], ["y"], name="node_mul"),
    )


def test_stripping_removes_what_the_tracer_noted_about_its_author(model: onnx.ModelProto) -> None:
    helper.set_model_props(model, {"path": "/home/me"})
    model.graph.node[0].metadata_props.add(key="stack", value="/home/me/secret.py")
    strip_metadata(model)
    assert b"/home/me" not in model.SerializeToString()


def test_pruning_keeps_what_the_outputs_need(model: onnx.ModelProto) -> None:
    prune(model)
    assert [node.op_type for node in model.graph.node] == ["Abs", "Identity", "Mul"]
    assert [one.name for one in model.graph.initializer] == ["two"]


def test_pruning_keeps_inputs_nobody_reads() -> None:
    model = model_of(helper.make_node("Identity", ["two"], ["y"]))
    prune(model)
    assert [one.name for one in model.graph.input] == ["x"]


def test_copies_are_bypassed_but_outputs_stay(model: onnx.ModelProto) -> None:
    bypass_identities(model)
    assert "Identity" not in [node.op_type for node in model.graph.node]
    kept = model_of(helper.make_node("Identity", ["x"], ["y"]))
    bypass_identities(kept)
    assert len(kept.graph.node) == 1


def test_names_follow_places_and_nodes_have_none(model: onnx.ModelProto) -> None:
    number_tensors(model, prefix="p/")
    assert [node.output[0] for node in model.graph.node] == ["p/0", "p/1", "p/2", "y"]
    assert {one.name for one in model.graph.initializer} == {"p/two", "p/spare"}
    assert not any(node.name for node in model.graph.node)


def test_renaming_to_a_name_in_use_is_refused(model: onnx.ModelProto) -> None:
    with pytest.raises(ValueError, match=r"found in use: \['two'\]"):
        rename_tensors(model, {"size": "two"})


def test_names_can_be_swapped(model: onnx.ModelProto) -> None:
    rename_tensors(model, {"size": "copy", "copy": "size"})
    assert list(model.graph.node[2].input) == ["copy"]


def test_operator_sets_are_imported_once_and_only_if_used(model: onnx.ModelProto) -> None:
    extra = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    model.opset_import.extend(extra)
    unify_opsets(model)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 18)]


def test_contradicting_operator_sets_are_refused(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("", 20))
    with pytest.raises(ValueError, match="must agree"):
        unify_opsets(model)


def test_all_passes_leave_the_answers_alone(model: onnx.ModelProto) -> None:
    before = Runtime(model)(ROW)["y"]
    tidy(model, name="n", description="d", version="1")
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == IR_VERSION
    np.testing.assert_array_equal(Runtime(model)(ROW)["y"], before)


def test_properties_are_replaced_and_sorted(model: onnx.ModelProto) -> None:
    helper.set_model_props(model, {"old": "1"})
    set_properties(model, {"b": "2", "a": "日本"})
    assert [(one.key, one.value) for one in model.metadata_props] == [("a", "日本"), ("b", "2")]


@pytest.mark.parametrize("operator", ["Log", "Softplus", "RandomNormalLike", "Dropout"])
def test_operators_that_depend_on_the_batch_are_refused(operator: str) -> None:
    model = model_of(helper.make_node(operator, ["x"], ["y"]))
    with pytest.raises(ParityError, match=rf"f\.onnx must .* found {operator}"):
        check_operators(model, file="f.onnx")


def test_the_exponential_is_refused_in_float64_only() -> None:
    single = model_of(helper.make_node("Exp", ["x"], ["y"]))
    check_operators(single, file="f.onnx")
    double = model_of(
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.DOUBLE),
        helper.make_node("Exp", ["wide"], ["grown"]),
        helper.make_node("Cast", ["grown"], ["y"], to=TensorProto.FLOAT),
    )
    with pytest.raises(ParityError, match="Exp in float64"):
        check_operators(double, file="f.onnx")


def test_foreign_operators_are_refused() -> None:
    model = model_of(helper.make_node("Magic", ["x"], ["y"], domain="com.example"))
    with pytest.raises(ParityError, match=r"com\.example\.Magic"):
        check_operators(model, file="f.onnx")


def test_padding_said_elsewhere_is_not_said_twice() -> None:
    model = model_of(helper.make_node("Conv", ["x", "two"], ["y"], auto_pad="NOTSET", group=1))
    drop_auto_pad(model)
    assert [one.name for one in model.graph.node[0].attribute] == ["group"]


def test_padding_that_only_the_shape_tells_is_refused() -> None:
    model = model_of(helper.make_node("Conv", ["x", "two"], ["y"], auto_pad="SAME_UPPER"))
    with pytest.raises(ValueError, match="padding of Conv must be explicit, found b'SAME_UPPER'"):
        drop_auto_pad(model)
