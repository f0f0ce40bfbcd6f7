"""What an ONNX file may hold, checked before ONNX Runtime sees a byte of it.

The world is closed: a file holds what this product writes and nothing else. Subgraphs, functions,
external data and foreign operators are not searched for; the fields that could carry them are not
on the list. A hash says that a file is the one that was sealed, not that its author meant well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto

from pipeline.errors import BundleError
from pipeline.footprint import excesses
from pipeline.signatures import Signature, mismatches

# Protobuf ends at 2 GiB, and opening a model takes about three times its size. A hundred columns
# of 65,536 categories each, read 24 numbers wide, take 0.6 GB.
LARGEST_MODEL = 2**30
# A decoder has six nodes a column.
MOST_NODES = 100_000
# Keys of a look-up: 65,536 values and a null (pipeline.transforms.categories).
LONGEST_LIST = 2**17
HIGHEST_RANK = 8

# Exactly what bundles were ever written with; extended together with pipeline.bundle.FORMAT.
IR_VERSIONS = frozenset({8})
OPSETS = frozenset({("", 18), ("ai.onnx.ml", 3)})
PRODUCER = "parquet2vec"

# Every operator with the attributes it may have. What is written today: dense networks, the
# prologue and its inverse, scores.
_WRITTEN = {
    **dict.fromkeys(("Add", "Div", "Mod", "Mul", "Sub", "Sum", "Pow", "Sqrt", "Max", "Min"), ""),
    **dict.fromkeys(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Where"), ""),
    **dict.fromkeys(("Clip", "Expand", "Identity", "IsNaN", "MatMul", "Slice"), ""),
    **dict.fromkeys(("Relu", "Sigmoid", "Tanh"), ""),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"), "keepdims"),
    **dict.fromkeys(("Concat", "Gather", "GatherElements", "Softmax", "Split"), "axis"),
    "ArgMax": "axis keepdims",
    "Cast": "to",
    "GatherND": "batch_dims",
    "Gemm": "alpha beta transA transB",
    "Reshape": "allowzero",
    "Shape": "start end",
    "Transpose": "perm",
    "ai.onnx.ml.LabelEncoder": "keys_strings keys_int64s values_strings values_int64s "
    "default_string default_int64",
}
# What convolutional and variational members write as well. Batch normalisation is folded when it
# is exported; Log and Softplus are not here, because their kernels depend on the batch.
_FORESEEN = {
    **dict.fromkeys(("Abs", "And", "Erf", "Exp", "Neg", "Not", "Or", "Reciprocal"), ""),
    **dict.fromkeys(("GlobalAveragePool", "Squeeze", "Unsqueeze"), ""),
    **dict.fromkeys(("Elu", "LeakyRelu"), "alpha"),
    "AveragePool": "ceil_mode count_include_pad kernel_shape pads strides",
    "Conv": "dilations group kernel_shape pads strides",
    "ConvTranspose": "dilations group kernel_shape output_padding pads strides",
    "Flatten": "axis",
    "LayerNormalization": "axis epsilon stash_type",
    "MaxPool": "ceil_mode dilations kernel_shape pads storage_order strides",
}
OPERATORS = {name: frozenset(text.split()) for name, text in (_WRITTEN | _FORESEEN).items()}
OPERATORS |= {
    name: OPERATORS[name] | {"noop_with_empty_axes"} for name in OPERATORS if "Reduce" in name
}

# Integers outside end the process, in ONNX's own inference or in a kernel (measured: an axis of
# 2^31, negative batch dimensions); windows and steps of 0 are divided by.
_SIZE = (1, 2**16)
_RANGES = {
    **dict.fromkeys(("dilations", "group", "kernel_shape", "strides"), _SIZE),
    **dict.fromkeys(("output_padding", "pads"), (0, 2**16)),
    "axis": (-HIGHEST_RANK, HIGHEST_RANK),
    "end": (-HIGHEST_RANK, HIGHEST_RANK),
    "batch_dims": (0, 0),
    "perm": (0, HIGHEST_RANK),
}
_SWITCH = (0, 1)
# Windows are those of images. ONNX's own inference reads beyond lists that are shorter (measured).
_LENGTHS = {
    **dict.fromkeys(("dilations", "kernel_shape", "output_padding", "strides"), 2),
    "pads": 4,
}
_WEIGHTED = frozenset({"Conv", "ConvTranspose"})

_BYTES = {
    TensorProto.FLOAT: 4,
    TensorProto.DOUBLE: 8,
    TensorProto.INT64: 8,
    TensorProto.BOOL: 1,
}
_FIELDS = {
    "onnx.ModelProto": "ir_version opset_import producer_name producer_version domain "
    "model_version doc_string graph metadata_props",
    "onnx.GraphProto": "node name initializer doc_string input output",
    "onnx.NodeProto": "input output name op_type domain attribute doc_string",
    "onnx.AttributeProto": "name type f i s floats ints strings",
    "onnx.TensorProto": "dims data_type name raw_data doc_string",
    "onnx.ValueInfoProto": "name type doc_string",
    "onnx.TypeProto": "tensor_type",
    "onnx.TypeProto.Tensor": "elem_type shape",
    "onnx.TensorShapeProto": "dim",
    "onnx.TensorShapeProto.Dimension": "dim_value dim_param",
    "onnx.OperatorSetIdProto": "domain version",
    "onnx.StringStringEntryProto": "key value",
}
_ALLOWED_FIELDS = {name: frozenset(fields.split()) for name, fields in _FIELDS.items()}


def audit(content: bytes, signature: Signature, *, where: str) -> None:
    """Nothing, when the ONNX file `content` is one that this product could have written.

    Raises:
        BundleError: naming the first thing that must not be there; `where` names the file.
    """
    try:
        found = next(_findings(content, signature), None)
    except Exception as error:
        # A gate that fails stays closed: text that is not UTF-8, what ONNX's own checks refuse.
        lines = [line.strip() for line in str(error).splitlines()]
        found = next(filter(None, lines), type(error).__name__)
    if found is not None:
        shown = found if found.isprintable() else ascii(found)
        raise BundleError(
            f"{where} must hold only what parquet2vec writes, found {shown[:200]}; "
            "do not use this bundle, and ask where it comes from"
        )


def _findings(content: bytes, signature: Signature) -> Iterator[str]:
    """What must not be there; each check relies on those before it."""
    if len(content) > LARGEST_MODEL:
        yield f"{len(content)} bytes, more than {LARGEST_MODEL}"
    model: onnx.ModelProto = onnx.ModelProto.FromString(content)
    yield from _fields(model)
    # Two readers of the same bytes must not see two models: one spelling, no unknown fields.
    model.DiscardUnknownFields()
    if model.SerializeToString(deterministic=True) != content:
        yield "unknown fields, or bytes in an unusual order"
    yield from _header(model)
    yield from _tensors(model.graph)
    yield from _nodes(model.graph)
    yield from mismatches(model.graph, signature)
    onnx.checker.check_model(content)
    yield from excesses(model, signature)


def _fields(message: Any) -> Iterator[str]:
    name = message.DESCRIPTOR.full_name
    allowed = _ALLOWED_FIELDS[name]
    for field, value in message.ListFields():
        if field.name not in allowed:
            yield f"{name.removeprefix('onnx.')}.{field.name}"
        for part in value if field.is_repeated else (value,):
            if field.message_type is not None:
                yield from _fields(part)
            elif field.type == field.TYPE_STRING and not isinstance(part, str):
                yield f"{field.name} {part!r}, which is no text"


def _header(model: onnx.ModelProto) -> Iterator[str]:
    if model.ir_version not in IR_VERSIONS:
        yield f"IR version {model.ir_version}"
    # ONNX Runtime takes a file for another format by its bytes 4 to 8, which are this name.
    if model.producer_name != PRODUCER:
        yield f"producer {model.producer_name!r}"
    imports = [(one.domain, one.version) for one in model.opset_import]
    if odd := set(imports) - OPSETS:
        domain, version = min(odd)
        yield f"operator set {domain or 'ai.onnx'} {version}"
    if len(imports) != len(set(imports)):
        yield "an operator set that is imported twice"


def _tensors(graph: onnx.GraphProto) -> Iterator[str]:
    if len(graph.initializer) > MOST_NODES:
        yield f"{len(graph.initializer)} tensors, more than {MOST_NODES}"
    inputs = {one.name for one in graph.input}
    for tensor in graph.initializer:
        name, dims, size = tensor.name, list(tensor.dims), len(tensor.raw_data)
        if tensor.data_type not in _BYTES:
            yield f"tensor {name!r} of element type {tensor.data_type}"
        if len(dims) > HIGHEST_RANK or not all(0 <= one <= LARGEST_MODEL for one in dims):
            yield f"tensor {name!r} of shape {dims[: HIGHEST_RANK + 1]}"
        if math.prod(dims) * _BYTES[tensor.data_type] != size:
            yield f"tensor {name!r} of shape {dims} in {size} bytes"
        if name in inputs:
            yield f"a default for input {name!r}"
        if tensor.data_type == TensorProto.FLOAT and not _all_finite(tensor.raw_data):
            yield f"weights {name!r} that are not finite"


def _all_finite(floats: bytes) -> bool:
    """Whether no number is NaN or infinite, for then the sum in float64 would be one as well."""
    with np.errstate(invalid="ignore"):
        return bool(np.isfinite(np.frombuffer(floats, "<f4").sum(dtype=np.float64)))


def _nodes(graph: onnx.GraphProto) -> Iterator[str]:
    if len(graph.node) > MOST_NODES:
        yield f"{len(graph.node)} nodes, more than {MOST_NODES}"
    constants = {one.name: one for one in graph.initializer}
    for node in graph.node:
        operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        if operator not in OPERATORS:
            yield f"operator {operator}"
            return
        for attribute in node.attribute:
            if attribute.name not in OPERATORS[operator]:
                yield f"attribute {attribute.name!r} of {operator}"
            yield from _values(operator, attribute)
        yield from _operands(node, constants)


def _operands(node: onnx.NodeProto, constants: Mapping[str, TensorProto]) -> Iterator[str]:
    """What is wrong with a node's inputs and attributes together."""
    operator = node.op_type
    if "" in node.input[: 1 if operator == "Clip" else None]:
        yield f"{operator} with an input left out"
    if operator == "Split" and len(node.input) != 2:
        yield "Split into parts of no given sizes"
    second = constants.get(node.input[1]) if len(node.input) > 1 else None
    if operator in _WEIGHTED and (second is None or len(second.dims) != 4):
        yield f"{operator} with weights that are not those of a window"
    if operator == "GatherND" and (second is None or list(second.dims)[-1:] in ([], [0])):
        yield "GatherND by indices that are not constant"
    if operator == "LabelEncoder":
        lists = [
            len(one.ints) or len(one.strings)
            for one in sorted(node.attribute, key=lambda one: one.name)
            if one.name.startswith(("keys_", "values_"))
        ]
        if len(lists) != 2 or lists[0] != lists[1] or not lists[0]:
            yield "LabelEncoder without one value for each key"


def _values(operator: str, attribute: AttributeProto) -> Iterator[str]:
    name = attribute.name
    longest = max(len(attribute.ints), len(attribute.floats), len(attribute.strings))
    if longest > LONGEST_LIST:
        yield f"{longest} values in {name} of {operator}"
    if operator.endswith("LabelEncoder"):
        return
    integers = [*attribute.ints, *([attribute.i] if attribute.HasField("i") else [])]
    if name == "to":
        if attribute.i not in _BYTES:
            yield f"{operator} to element type {attribute.i}"
    elif integers:
        lowest, highest = _RANGES.get(name, _SWITCH)
        if min(integers) < lowest or max(integers) > highest:
            yield f"{name} outside of {lowest} to {highest} in {operator}"
    if name in _LENGTHS and len(attribute.ints) != _LENGTHS[name]:
        yield f"{len(attribute.ints)} {name} in {operator}"
