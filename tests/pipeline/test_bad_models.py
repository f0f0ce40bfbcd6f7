"""Models made to do harm, in bundles whose hashes are right: none of them reaches ONNX Runtime."""

import json
import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from pipeline import audit as auditing
from pipeline.audit import audit
from pipeline.bundle import Bundle
from pipeline.encoder import Encoder, Scorer
from pipeline.errors import BundleError
from pipeline.feed import NUMBERS
from pipeline.graph import IR_VERSION, ML_OPSET, OPSET
from pipeline.runtime import Session
from pipeline.signatures import signature
from pipeline.verification import verify
from pipeline.watchdog import Watchdog

Attack = Callable[[onnx.ModelProto], bytes | None]
ATTACKS: dict[str, tuple[Attack, str]] = {}


def attack(found: str) -> Callable[[Attack], Attack]:
    """Registers a change of core.onnx (in place, or the bytes to write) and what must be found."""

    def register(change: Attack) -> Attack:
        ATTACKS[change.__name__.replace("_", " ")] = change, found
        return change

    return register


def node(
    model: onnx.ModelProto, op: str, *inputs: str, domain: str = "", **attributes: object
) -> str:
    output = f"attack/{len(model.graph.node)}"
    made = helper.make_node(op, list(inputs), [output], domain=domain, **attributes)
    model.graph.node.append(made)
    return output


def constant(model: onnx.ModelProto, array: object, dtype: object = np.int64) -> str:
    name = f"attack/c{len(model.graph.initializer)}"
    model.graph.initializer.append(numpy_helper.from_array(np.array(array, dtype), name))
    return name


def weights(model: onnx.ModelProto) -> TensorProto:
    """The largest float32 tensor."""
    floats = [one for one in model.graph.initializer if one.data_type == TensorProto.FLOAT]
    return max(floats, key=lambda one: len(one.raw_data))


def subgraph(*nodes: onnx.NodeProto, outputs: tuple[str, ...] = ("b",)) -> onnx.GraphProto:
    inputs = [
        helper.make_tensor_value_info("i", TensorProto.INT64, []),
        helper.make_tensor_value_info("b", TensorProto.BOOL, []),
    ]
    given_back = [one for one in inputs if one.name in outputs]
    return helper.make_graph(list(nodes), "body", inputs, given_back)


def external(model: onnx.ModelProto, location: str) -> None:
    tensor = weights(model)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)


# ------------------------------------------------------------------------------- not a model


@attack("DecodeError|Error parsing message")
def cut_in_the_middle(model: onnx.ModelProto) -> bytes:
    content: bytes = model.SerializeToString()
    return content[: len(content) // 2]


@attack("DecodeError|Error parsing message")
def random_bytes(model: onnx.ModelProto) -> bytes:
    return random.Random(0).randbytes(10_000)


@attack("IR version 0")
def an_empty_file(model: onnx.ModelProto) -> bytes:
    return b""


@attack("unknown fields, or bytes in an unusual order")
def a_field_nobody_knows(model: onnx.ModelProto) -> bytes:
    return model.SerializeToString() + b"\xfa\x3f\x04evil"


@attack("unknown fields, or bytes in an unusual order")
def two_graphs_that_readers_may_merge(model: onnx.ModelProto) -> bytes:
    other = onnx.ModelProto()
    other.graph.name = "other"
    return model.SerializeToString() + other.SerializeToString()


@attack("DecodeError|Error parsing message")
def graphs_nested_a_thousand_deep(model: onnx.ModelProto) -> bytes:
    def field(tag: bytes, content: bytes) -> bytes:
        size, length = b"", len(content)
        while length > 127:
            size, length = size + bytes([length & 127 | 128]), length >> 7
        return tag + size + bytes([length]) + content

    graph = b""
    for _ in range(1_000):  # GraphProto.node > NodeProto.attribute > AttributeProto.g
        graph = field(b"\x0a", field(b"\x2a", field(b"\x32", graph)))
    return b"\x08\x08" + field(b"\x3a", graph)


@attack("producer 'ORTM'")
def a_file_that_is_of_another_format_as_well(model: onnx.ModelProto) -> None:
    model.producer_name = "ORTM"


@attack("which is no text")
def names_that_are_not_text(model: onnx.ModelProto) -> bytes:
    model.graph.node[0].name = "PLACEHOLDER"
    return model.SerializeToString().replace(
        b"PLACEHOLDER", b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff"
    )


# ------------------------------------------------------------------------------- the header


@attack("IR version 99")
def an_ir_version_of_the_future(model: onnx.ModelProto) -> None:
    model.ir_version = 99


@attack("operator set ai.onnx 99")
def operators_of_the_future(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 99


@attack("operator set com.microsoft 1")
def a_foreign_operator_set(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


@attack("imported twice")
def an_operator_set_imported_twice(model: onnx.ModelProto) -> None:
    model.opset_import.append(model.opset_import[0])


@attack("ModelProto.training_info")
def instructions_for_training(model: onnx.ModelProto) -> None:
    model.training_info.add().algorithm.name = "evil"


# ------------------------------------------------------------------------------- functions, loops


@attack("ModelProto.functions")
def a_function(model: onnx.ModelProto) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    opsets = [helper.make_opsetid("", OPSET)]
    model.functions.append(helper.make_function("", "Evil", ["x"], ["y"], nodes, opsets))


@attack("ModelProto.functions")
def a_chain_of_three_thousand_functions(model: onnx.ModelProto) -> None:
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("f", 1)]
    for place in range(3_000):
        nodes = [helper.make_node(f"F{place + 1}", ["x"], ["y"], domain="f")]
        made = helper.make_function("f", f"F{place}", ["x"], ["y"], nodes, opsets)
        model.functions.append(made)


@attack("AttributeProto.g")
def an_endless_loop(model: onnx.ModelProto) -> None:
    body = subgraph(helper.make_node("Identity", ["b"], ["b2"]))
    model.graph.node.append(
        helper.make_node("Loop", ["", constant(model, True, bool)], [], body=body)
    )


@attack("AttributeProto.g")
def a_branch(model: onnx.ModelProto) -> None:
    taken = subgraph()
    condition = constant(model, True, bool)
    model.graph.node.append(
        helper.make_node("If", [condition], ["x"], then_branch=taken, else_branch=taken)
    )


@attack("AttributeProto.g")
def a_scan(model: onnx.ModelProto) -> None:
    model.graph.node.append(
        helper.make_node("Scan", [NUMBERS], ["x"], body=subgraph(), num_scan_inputs=1)
    )


@attack("AttributeProto.graphs")
def a_list_of_graphs(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("graphs", [subgraph()]))


@attack("operator Loop")
def a_loop_without_a_body(model: onnx.ModelProto) -> None:
    node(model, "Loop", "", "")


# ------------------------------------------------------------------------------- operators


@attack("operator evil.Run")
def an_operator_of_a_library_to_load(model: onnx.ModelProto) -> None:
    node(model, "Run", NUMBERS, domain="evil")


@attack("operator com.microsoft.FusedMatMul")
def an_operator_of_onnx_runtime_alone(model: onnx.ModelProto) -> None:
    node(model, "FusedMatMul", NUMBERS, NUMBERS, domain="com.microsoft")


@attack("operator RandomNormal")
def an_operator_that_is_not_on_the_list(model: onnx.ModelProto) -> None:
    node(model, "RandomNormal", shape=[2**30])


@attack("No Op registered for|operator Frobnicate")
def an_operator_that_does_not_exist(model: onnx.ModelProto) -> None:
    node(model, "Frobnicate", NUMBERS)


@attack("AttributeProto.t")
def a_constant_of_two_to_the_thirty_sixth(model: onnx.ModelProto) -> None:
    value = helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])
    node(model, "ConstantOfShape", constant(model, [2**36]), value=value)


@attack("operator Range")
def a_range_without_end(model: onnx.ModelProto) -> None:
    node(model, "Range", constant(model, 0), constant(model, 2**40), constant(model, 1))


@attack("operator Tile")
def a_tile_of_a_billion(model: onnx.ModelProto) -> None:
    node(model, "Tile", NUMBERS, constant(model, [2**15, 2**15]))


@attack("Expand with more than")
def an_expansion_to_two_to_the_thirty_sixth(model: onnx.ModelProto) -> None:
    node(model, "Expand", constant(model, [1.0], np.float32), constant(model, [2**18, 2**18]))


@attack("Expand to a size that only the data tells")
def an_expansion_to_a_size_computed_from_the_data(model: onnx.ModelProto) -> None:
    largest = node(
        model, "ReduceMax", node(model, "Cast", NUMBERS, to=TensorProto.INT64), keepdims=0
    )
    size = node(model, "Reshape", largest, constant(model, [1]))
    node(model, "Expand", constant(model, [1.0], np.float32), size)


@attack("ConvTranspose to a size that only the data tells")
def rows_drawn_out_a_million_times(model: onnx.ModelProto) -> None:
    rows = node(model, "Reshape", NUMBERS, constant(model, [1, 1, -1, 1]))
    narrow = node(model, "Cast", rows, to=TensorProto.FLOAT)
    kernel = constant(model, [[[[1]]]], np.float32)
    node(model, "ConvTranspose", narrow, kernel, strides=[10**4, 1])


@attack("square of the rows")
def a_product_of_all_rows_with_all_rows(model: onnx.ModelProto) -> None:
    node(model, "MatMul", node(model, "Transpose", NUMBERS, perm=[1, 0]), NUMBERS)


@attack("Concat with more than")
def rows_doubled_forty_times(model: onnx.ModelProto) -> None:
    doubled = NUMBERS
    for _ in range(40):
        doubled = node(model, "Concat", doubled, doubled, axis=1)


@attack("Concat with more than")
def columns_doubled_forty_times(model: onnx.ModelProto) -> None:
    doubled = NUMBERS
    for _ in range(40):
        doubled = node(model, "Concat", doubled, doubled, axis=0)


@attack("Div by an integer below 1")
def the_smallest_integer_divided_by_minus_one(model: onnx.ModelProto) -> None:
    whole = node(model, "Cast", NUMBERS, to=TensorProto.INT64)
    node(model, "Div", whole, constant(model, [[-1]]))


@attack("Mod by an integer that is not a constant")
def a_remainder_of_what_the_data_says(model: onnx.ModelProto) -> None:
    whole = node(model, "Cast", NUMBERS, to=TensorProto.INT64)
    node(model, "Mod", whole, whole)


@attack("strides outside of 1 to")
def a_pool_that_does_not_move(model: onnx.ModelProto) -> None:
    image = node(model, "Reshape", NUMBERS, constant(model, [1, 1, -1, 1]))
    node(model, "MaxPool", image, kernel_shape=[1, 1], strides=[0, 1])


@attack("group outside of 1 to")
def a_convolution_in_no_groups(model: onnx.ModelProto) -> None:
    image = node(model, "Reshape", NUMBERS, constant(model, [1, 1, -1]))
    node(model, "Conv", image, constant(model, [[[1]]], np.float32), group=0)


@attack("axis outside of -8 to 8 in LayerNormalization")
def an_axis_that_ends_the_process_in_shape_inference(model: onnx.ModelProto) -> None:
    narrow = node(model, "Cast", NUMBERS, to=TensorProto.FLOAT)
    node(model, "LayerNormalization", narrow, constant(model, [1.0], np.float32), axis=2**31)


@attack("attribute 'num_outputs' of Split")
def a_split_that_ends_the_process_in_shape_inference(model: onnx.ModelProto) -> None:
    node(model, "Split", NUMBERS, "", num_outputs=1)


@attack("Split into parts of no given sizes")
def a_split_that_ends_it_as_well(model: onnx.ModelProto) -> None:
    node(model, "Split", NUMBERS, axis=1)


@attack("LabelEncoder without one value for each key")
def a_vocabulary_without_values_that_ends_it_as_well(model: onnx.ModelProto) -> None:
    whole = node(model, "Cast", NUMBERS, to=TensorProto.INT64)
    node(model, "LabelEncoder", whole, domain="ai.onnx.ml", keys_int64s=[0], default_int64=0)


@attack("ConvTranspose with weights that are not those of a window")
def a_convolution_of_no_window_that_ends_it_as_well(model: onnx.ModelProto) -> None:
    node(model, "ConvTranspose", NUMBERS, constant(model, [], np.float32))


@attack("1 pads in MaxPool")
def a_list_that_is_too_short(model: onnx.ModelProto) -> None:
    node(model, "MaxPool", NUMBERS, kernel_shape=[2, 2], pads=[0])


@attack("GatherND by indices that are not constant")
def indices_of_no_length_that_end_it_as_well(model: onnx.ModelProto) -> None:
    node(model, "GatherND", NUMBERS, constant(model, np.zeros((5, 0))))


@attack("MatMul")
def a_look_up_behind_a_node_that_fails_which_ends_it_as_well(model: onnx.ModelProto) -> None:
    left = constant(model, np.zeros((1, 5, 1)), np.float32)
    failed = node(model, "MatMul", left, constant(model, [0.0, 0.0], np.float32))
    lists = {"keys_int64s": [0], "values_int64s": [1]}
    node(model, "LabelEncoder", failed, domain="ai.onnx.ml", default_int64=0, **lists)


@attack("LabelEncoder behind a LabelEncoder")
def a_look_up_of_what_was_looked_up(model: onnx.ModelProto) -> None:
    lists = {"keys_int64s": [0], "values_int64s": [1]}
    codes = node(model, "Cast", NUMBERS, to=TensorProto.INT64)
    for _ in range(2):
        codes = node(model, "LabelEncoder", codes, domain="ai.onnx.ml", default_int64=0, **lists)


@attack("batch_dims outside of 0 to 0 in GatherND")
def batch_dimensions_that_end_the_process_when_it_loads(model: onnx.ModelProto) -> None:
    node(model, "GatherND", constant(model, [1]), constant(model, [0]), batch_dims=-2)


@attack("attribute 'auto_pad' of Conv")
def an_attribute_that_is_not_on_the_list(model: onnx.ModelProto) -> None:
    rows = node(model, "Cast", NUMBERS, to=TensorProto.FLOAT)
    node(model, "Conv", rows, constant(model, [[[1]]], np.float32), auto_pad="SAME_UPPER")


@attack("Cast to element type 8")
def numbers_as_text(model: onnx.ModelProto) -> None:
    node(model, "Cast", NUMBERS, to=TensorProto.STRING)


@attack("values in keys_strings of ai.onnx.ml.LabelEncoder")
def a_vocabulary_of_a_million(model: onnx.ModelProto) -> None:
    keys = ["a"] * 10**6
    node(model, "LabelEncoder", NUMBERS, domain="ai.onnx.ml", keys_strings=keys)


@attack("nodes, more than")
def a_hundred_thousand_nodes(model: onnx.ModelProto) -> None:
    one = model.graph.node[0]
    model.graph.node.extend([one] * (auditing.MOST_NODES + 1))


@attack("topological|cycle|not sorted|not output of any previous")
def a_circle(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["circle/1"], ["circle/2"]))
    model.graph.node.append(helper.make_node("Relu", ["circle/2"], ["circle/1"]))


@attack("SSA|used as output names multiple times")
def one_name_for_two_results(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["embedding"], ["embedding"]))


@attack("not output of any previous|topological")
def a_result_that_nobody_computes(model: onnx.ModelProto) -> None:
    node(model, "Relu", "nothing")


@attack("list index|has input size|inputs")
def a_division_of_nothing(model: onnx.ModelProto) -> None:
    node(model, "Div")


# ------------------------------------------------------------------------------- tensors


@attack("AttributeProto.t")
def a_tensor_in_an_attribute(model: onnx.ModelProto) -> None:
    node(model, "Constant", value=helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0]))


@attack("GraphProto.sparse_initializer")
def a_sparse_tensor_that_is_elsewhere(model: onnx.ModelProto) -> None:
    sparse = model.graph.sparse_initializer.add()
    sparse.values.name = "evil"
    sparse.values.data_location = TensorProto.EXTERNAL


@attack(r"TensorProto\.float_data")
def a_tensor_in_another_spelling(model: onnx.ModelProto) -> None:
    tensor = weights(model)
    tensor.float_data.extend(numpy_helper.to_array(tensor).ravel().tolist())


@attack(r"of shape \[1000000000000000\]")
def a_length_of_ten_to_the_fifteenth(model: onnx.ModelProto) -> None:
    weights(model).dims[:] = [10**15]


@attack(r"of shape \[68719476736, 68719476736\]")
def lengths_whose_product_overflows_to_zero(model: onnx.ModelProto) -> None:
    tensor = weights(model)
    tensor.dims[:], tensor.raw_data = [2**36, 2**36], b""


@attack(r"of shape \[-1, -4\]")
def negative_lengths(model: onnx.ModelProto) -> None:
    tensor = weights(model)
    tensor.dims[:], tensor.raw_data = [-1, -4], struct.pack("<4f", 1, 1, 1, 1)


@attack("of shape")
def a_tensor_of_many_dimensions(model: onnx.ModelProto) -> None:
    tensor = weights(model)
    tensor.dims[:] = [1] * 1_000 + list(tensor.dims)


@attack("of element type 8")
def a_tensor_of_text(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(helper.make_tensor("s", TensorProto.STRING, [0], []))


@attack("that are not finite")
def weights_that_are_not_numbers(model: onnx.ModelProto) -> None:
    tensor = weights(model)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[7] = np.nan
    tensor.raw_data = values.tobytes()


@attack("a default for input")
def a_default_for_an_input(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 1)), NUMBERS))


# ------------------------------------------------------------------------------- the contract


@attack("input 'p2v/other', which the schema does not have")
def an_input_of_another_name(model: onnx.ModelProto) -> None:
    for one in model.graph.node:
        one.input[:] = ["p2v/other" if name == NUMBERS else name for name in one.input]
    next(one for one in model.graph.input if one.name == NUMBERS).name = "p2v/other"


@attack(r"as float \[6, rows\] instead of double \[6, rows\]")
def an_input_of_another_type(model: onnx.ModelProto) -> None:
    one = next(one for one in model.graph.input if one.name == NUMBERS)
    one.type.tensor_type.elem_type = TensorProto.FLOAT


@attack(r"as double \[6, rows, 1\] instead of")
def an_input_of_another_rank(model: onnx.ModelProto) -> None:
    one = next(one for one in model.graph.input if one.name == NUMBERS)
    one.type.tensor_type.shape.dim.add(dim_value=1)


@attack(r"as double \[6, 256\] instead of double \[6, rows\]")
def a_batch_of_a_fixed_size(model: onnx.ModelProto) -> None:
    one = next(one for one in model.graph.input if one.name == NUMBERS)
    one.type.tensor_type.shape.dim[1].dim_value = 256


@attack("TypeProto.sequence_type")
def an_input_that_is_a_sequence(model: onnx.ModelProto) -> None:
    one = next(one for one in model.graph.input if one.name == NUMBERS)
    one.type.sequence_type.elem_type.tensor_type.elem_type = TensorProto.DOUBLE


@attack(r"output 'embedding' as float \[rows, 5\] instead of float \[rows, 4\]")
def an_output_of_another_width(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 5


@attack("instead of float")
def an_output_in_half_precision(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16


@attack(r"turns out to be float \[rows, 8\]")
def an_output_that_is_wider_than_it_says(model: onnx.ModelProto) -> None:
    last = next(one for one in model.graph.node if "embedding" in one.output)
    last.output[0] = "half"
    node(model, "Concat", "half", "half", axis=1)
    model.graph.node[-1].output[0] = "embedding"


@attack("output 'secret', which the schema does not have")
def an_output_too_many(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["embedding"], ["secret"]))
    shape = ["batch", 4]
    model.graph.output.append(helper.make_tensor_value_info("secret", TensorProto.FLOAT, shape))


@attack("no output 'embedding'")
def no_output(model: onnx.ModelProto) -> None:
    del model.graph.output[:]


# ------------------------------------------------------------------------------- external data


def _outside(location: str) -> Attack:
    def change(model: onnx.ModelProto) -> None:
        external(model, location)

    return change


LOCATIONS = {
    "above": "../secret.bin",
    "absolute": "/etc/passwd",
    "of the process": "/proc/self/environ",
    "in the bundle": "lookup.onnx",
    "linked": "link.bin",
    "hard-linked": "hard.bin",
}
for place, location in LOCATIONS.items():
    ATTACKS[f"weights that lie elsewhere: {place}"] = (
        _outside(location),
        r"TensorProto\.(data_location|external_data)",
    )


# ------------------------------------------------------------------------------- the tests


@pytest.fixture
def unreached(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What ONNX Runtime was asked to load, which it refuses here."""
    asked: list[str] = []

    def refuse(*arguments: object, **named: object) -> None:
        asked.append("loaded")
        raise AssertionError("ONNX Runtime was reached")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    return asked


def forged(bundle: Bundle, folder: Path, content: bytes, *, name: str = "core.onnx") -> Path:
    """The bundle with another model in it, all its hashes right."""
    files = {one: bundle.read(one) for one in bundle.manifest.files} | {name: content}
    return Bundle.write(folder / "forged", manifest=bundle.manifest, files=files).path


def changed(bundle: Bundle, change: Attack) -> bytes:
    model = onnx.ModelProto.FromString(bundle.read("core.onnx"))
    content = change(model)
    return model.SerializeToString(deterministic=True) if content is None else content


def test_more_than_thirty_kinds_are_tried() -> None:
    assert len(ATTACKS) >= 30


@pytest.mark.parametrize("kind", ATTACKS)
def test_onnx_runtime_never_sees(
    bundle: Bundle, tmp_path: Path, unreached: list[str], kind: str
) -> None:
    change, found = ATTACKS[kind]
    path = forged(bundle, tmp_path, changed(bundle, change))
    (tmp_path / "secret.bin").write_bytes(b"\0" * 4096)
    (path / "link.bin").symlink_to("/etc/passwd")
    os.link(tmp_path / "secret.bin", path / "hard.bin")
    with pytest.raises(BundleError, match=found) as refusal:
        Encoder.open(path)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 600
    assert not unreached


def test_without_an_attack_it_is_reached(
    bundle: Bundle, tmp_path: Path, unreached: list[str]
) -> None:
    path = forged(bundle, tmp_path, changed(bundle, lambda model: None))
    with pytest.raises(BundleError, match="ONNX Runtime was reached"):
        Encoder.open(path)
    assert unreached


@pytest.mark.parametrize("name", ["lookup.onnx", "scorer.onnx", "encoder.onnx", "decoder.onnx"])
def test_every_model_of_a_bundle_is_audited(
    bundle: Bundle, tmp_path: Path, unreached: list[str], name: str
) -> None:
    path = forged(bundle, tmp_path, changed(bundle, an_endless_loop), name=name)
    opened = Bundle.open(path)
    with pytest.raises(BundleError, match=rf"{name} must hold only"):
        opened.model(name)
    with pytest.raises(BundleError, match=rf"{name} must hold only"):
        verify(path)
    if name == "scorer.onnx":
        with pytest.raises(BundleError, match=rf"{name} must hold only"):
            Scorer(opened)
    assert not unreached


def test_a_model_of_a_name_that_no_bundle_has_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    path = forged(bundle, tmp_path, bundle.read("core.onnx"), name="other.onnx")
    with pytest.raises(BundleError, match=r"found other\.onnx"):
        verify(path)


def test_another_model_of_the_same_interface_is_refused_by_its_hash(
    bundle: Bundle, tmp_path: Path
) -> None:
    def another(model: onnx.ModelProto) -> None:
        tensor = weights(model)
        tensor.raw_data = (numpy_helper.to_array(tensor) * 2).tobytes()

    path = forged(bundle, tmp_path, bundle.read("core.onnx"))
    (path / "core.onnx").write_bytes(changed(bundle, another))
    with pytest.raises(BundleError, match=r"core\.onnx is damaged"):
        Encoder.open(path)


def test_a_file_swapped_after_opening_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    path = forged(bundle, tmp_path, bundle.read("core.onnx"))
    opened = Bundle.open(path)
    content = bytearray(bundle.read("core.onnx"))
    content[-1] ^= 1
    (path / "core.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"core\.onnx is damaged"):
        Encoder(opened)


def test_the_versions_that_are_allowed_are_those_that_are_written() -> None:
    assert {IR_VERSION} == auditing.IR_VERSIONS
    assert {("", OPSET), ("ai.onnx.ml", ML_OPSET)} == auditing.OPSETS


def test_a_model_that_is_too_large_is_not_even_parsed(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "LARGEST_MODEL", 1_000)
    with pytest.raises(BundleError, match="more than 1000"):
        bundle.model("core.onnx")


@given(content=st.binary(max_size=200))
@settings(max_examples=100)
def test_whatever_the_bytes_the_answer_is_a_bundle_error(bundle: Bundle, content: bytes) -> None:
    required = signature("core.onnx", bundle.manifest.feature_schema, dim=bundle.manifest.dim)
    with pytest.raises(BundleError):
        audit(content, required, where="core.onnx")


FUZZ = Path(__file__).with_name("fuzz_models.py")


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(0, 12_000, 2_000))
def test_no_random_model_ends_the_process(tmp_path: Path, seed: int) -> None:
    """Neither in the audit nor, when it passes, in ONNX Runtime: two thousand models a seed."""
    fuzz = [sys.executable, str(FUZZ), str(seed), "2000", str(tmp_path / "last.onnx")]
    limited = ["bash", "-c", 'ulimit -v 8000000; exec "$@"', "fuzz", *fuzz]
    done = subprocess.run(limited, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    print(f"seed {seed}: {told}")
    assert sum(told.values()) == 2_000
    assert told["ran"] > 100


DIES = """
import sys, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.stdin.buffer.read())
session.run(None, {"x": np.full(3, np.iinfo(np.int64).min)})
"""


@pytest.mark.chaos
def test_dividing_by_minus_one_is_worth_refusing() -> None:
    """The process dies of it: a signal, no exception."""
    ports = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n"]) for name in "xy"]
    divided = helper.make_node("Div", ["x", "c"], ["y"])
    one = numpy_helper.from_array(np.array([-1]), "c")
    graph = helper.make_graph([divided], "g", ports[:1], ports[1:], [one])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    content = model.SerializeToString()
    done = subprocess.run([sys.executable, "-c", DIES], input=content, capture_output=True)
    assert done.returncode < 0


# ------------------------------------------------------------------------------- running for ever


def endless() -> bytes:
    """A loop that never ends; no audit stands before a `Session` made by hand."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Identity", ["go"], ["kept"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("on", "kept")],
    )
    nodes = [helper.make_node("Loop", ["", "go", "go"], ["y"], body=body)]
    ports = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go", "y")]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:])
    opsets = [helper.make_opsetid("", 18)]
    content: bytes = helper.make_model(
        graph, opset_imports=opsets, ir_version=8
    ).SerializeToString()
    return content


def test_a_run_that_does_not_end_is_stopped_and_others_go_on(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    watchdog = Watchdog(ticks=3, seconds_per_tick=0.05)
    monkeypatch.setattr("pipeline.runtime._watchdog", watchdog)
    session = Session(endless())
    with pytest.raises(BundleError, match="must end within 60 seconds"):
        session.run(["y"], {"go": np.array(True)})
    assert not session.run(["y"], {"go": np.array(False)})[0]


def test_the_watchdog_counts_its_own_ticks() -> None:
    class Run:
        terminate = False

    watchdog = Watchdog(ticks=2)
    old, young = Run(), Run()
    watchdog.watch(old)
    watchdog.tick()
    watchdog.watch(young)
    watchdog.tick()
    assert not old.terminate
    watchdog.tick()
    assert old.terminate
    assert not young.terminate


# ------------------------------------------------------------------------------- bit flips


@pytest.fixture
def sealed(bundle: Bundle, tmp_path: Path) -> Bundle:
    """A bundle with every file that a real one has."""
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    files |= {"weights.safetensors": random.Random(1).randbytes(3_000), "spec.json": b"{}\n"}
    return Bundle.write(tmp_path / "sealed", manifest=bundle.manifest, files=files)


def silent_flips(bundle: Bundle, flips: int, *, seed: int) -> list[str]:
    """Opens the bundle with one bit flipped, `flips` times a file; what opened all the same."""
    draw, silent = random.Random(seed), []
    for path in sorted(one for one in bundle.path.iterdir() if one.is_file()):
        whole = path.read_bytes()
        for _ in range(flips):
            bit = draw.randrange(8 * len(whole))
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            try:
                Bundle.open(bundle.path)
            except BundleError:
                continue
            silent.append(f"{path.name} bit {bit}")
        path.write_bytes(whole)
    Bundle.open(bundle.path)
    return silent


def test_no_flipped_bit_goes_unseen(sealed: Bundle) -> None:
    assert silent_flips(sealed, 40, seed=0) == []


@pytest.mark.chaos
def test_no_flipped_bit_goes_unseen_in_a_thousand_a_file(sealed: Bundle) -> None:
    assert silent_flips(sealed, 1_000, seed=1) == []
