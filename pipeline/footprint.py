"""What a model makes of its inputs, judged without running it: types, shapes, sizes.

ONNX infers the shape of every result from the inputs on. In the files that this product writes
every one is known, with one free dimension at most: the rows of a run. So memory grows with the
rows, and by no more than a known factor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import TensorProto

from pipeline.signatures import Signature, port, shown

# Numbers of one row in one result: a convolution with 64 channels over 512 x 512 pixels.
LARGEST_ROW = 2**24

# Their results can be longer than what they read, by as much as a number says.
_GROWING = frozenset({"AveragePool", "Conv", "ConvTranspose", "Expand", "MaxPool"})
_FLOATING = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE})
_Values = Mapping[str, onnx.ValueInfoProto]


def excesses(model: onnx.ModelProto, required: Signature) -> Iterator[str]:
    """What in a model of checked inputs could end the process, fill its memory, or is wrong.

    `model` is taken apart on the way.

    Raises:
        onnx.shape_inference.InferenceError: if types or shapes do not fit each other.
    """
    if _looks_up_twice(model.graph):
        yield "LabelEncoder behind a LabelEncoder"
    inferred = _inferred(model)
    for node in model.graph.node:
        if node.op_type in ("Div", "Mod"):
            yield from _divisions(node, model.graph, inferred)
    yield from _sizes(model.graph, inferred)
    for output in model.graph.output:
        if (found := port(inferred[output.name])) != required.outputs[output.name]:
            yield f"output {output.name!r} that turns out to be {shown(found)}"


def _inferred(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """Every input and result with its type and shape.

    Shapes that the file declares for its outputs are dropped: only those of inputs were checked.
    """
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.INT64:
            tensor.ClearField("raw_data")  # only integers decide shapes
    before = _before_look_ups(model)
    if before is not None:
        _infer(before)
    graph = _infer(model).graph
    return {one.name: one for one in (*graph.input, *graph.value_info, *graph.output)}


def _infer(model: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(
        model, check_type=True, strict_mode=True, data_prop=True
    )


def _looks_up_twice(graph: onnx.GraphProto) -> bool:
    computed, beyond = _computed_look_ups(graph), set[str]()
    for node in graph.node:
        depends = bool(beyond.intersection(node.input))
        if depends and node.op_type == "LabelEncoder":
            return True
        if depends or node.output[0] in computed:
            beyond.update(node.output)
    return False


def _computed_look_ups(graph: onnx.GraphProto) -> set[str]:
    """Results of the look-ups of computed codes; those of an input's values have a known type."""
    known = {one.name for one in graph.input}
    look_ups = (node for node in graph.node if node.op_type == "LabelEncoder")
    return {node.output[0] for node in look_ups if node.input[0] not in known}


def _before_look_ups(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The part of a model that look-ups of computed codes depend on; None where there are none.

    ONNX collects the errors of all nodes before it raises one, and dies at a LabelEncoder whose
    input got no type from a node that failed. So that part must be free of errors on its own.
    """
    computed = _computed_look_ups(model.graph)
    if not computed:
        return None
    part, beyond = onnx.ModelProto(), set[str]()
    part.CopyFrom(model)
    del part.graph.output[:], part.graph.node[:]
    for node in model.graph.node:
        if node.output[0] in computed or beyond.intersection(node.input):
            beyond.update(node.output)
        else:
            part.graph.node.append(node)
    return part


def _divisions(node: onnx.NodeProto, graph: onnx.GraphProto, inferred: _Values) -> Iterator[str]:
    """Dividing the smallest integer by -1 ends the process with a signal (measured)."""
    name = node.input[1]
    divisor = next((one for one in graph.initializer if one.name == name), None)
    known = inferred.get(name)
    dtype = divisor.data_type if divisor else known and known.type.tensor_type.elem_type
    if dtype in _FLOATING:
        return
    if divisor is None:
        yield f"{node.op_type} by an integer that is not a constant"
    elif np.frombuffer(divisor.raw_data, "<i8").min(initial=1) < 1:
        yield f"{node.op_type} by an integer below 1"


def _sizes(graph: onnx.GraphProto, inferred: _Values) -> Iterator[str]:
    """Free dimensions have symbols: those of the inputs, and ONNX's own for what it cannot name."""
    named = {d.dim_param for one in graph.input for d in one.type.tensor_type.shape.dim}
    met, batches = set(named), {one.name: 1 for one in graph.input}
    for node in graph.node:
        for name in filter(None, node.output):
            value = inferred.get(name)
            if value is None or not value.type.tensor_type.HasField("shape"):
                yield f"{node.op_type} with a result of unknown shape"
                return
            dims = value.type.tensor_type.shape.dim
            fixed = [one.dim_value for one in dims if one.HasField("dim_value")]
            free = {one.dim_param for one in dims if not one.HasField("dim_value")}
            if len(dims) - len(fixed) > 1:
                yield f"{node.op_type} whose result grows with the square of the rows"
            if node.op_type in _GROWING and not free <= met:
                yield f"{node.op_type} to a size that only the data tells"
            met |= free
            batches[name] = 1 if free <= named else _joined(node, batches)
            if max(1, batches[name]) * math.prod(fixed) > LARGEST_ROW:
                yield f"{node.op_type} with more than {LARGEST_ROW} numbers a row"


def _joined(node: onnx.NodeProto, batches: Mapping[str, int]) -> int:
    """How many batches long a dimension of ONNX's own symbol is: Concat joins columns along it."""
    parts = [batches.get(name, 0) for name in node.input]
    return sum(parts) if node.op_type == "Concat" else max(parts, default=0)
