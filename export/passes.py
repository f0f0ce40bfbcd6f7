"""Clean-up passes over an ONNX graph: one function each, in place, telling what holds after it.

A traced graph carries its author's file paths, names that change from one release to the next,
and imports it does not need. After these passes the same weights give the same bytes on every
machine, and nothing in the file tells where it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import onnx
from onnx import helper

from pipeline.errors import ParityError

OPSETS = {"": 18, "ai.onnx.ml": 3}
IR_VERSION = 8
PRODUCER = "parquet2vec"

# Their results change with the batch size (measured: vector body against scalar tail), or they
# are random, or their scale is taken from the batch.
BATCH_DEPENDENT = frozenset(
    {"Log", "LogSoftmax", "Softplus", "DynamicQuantizeLinear", "BatchNormalization", "Dropout"}
    | {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli"}
    | {"Multinomial", "CumSum"}
)
BATCH_DEPENDENT_IN_DOUBLE = frozenset({"Exp", "Tanh", "Sigmoid", "Softmax", "Erf"})
CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})


def strip_metadata(model: onnx.ModelProto) -> None:
    """Drop source paths, doc strings and recorded shapes.

    Before: any model. After: only nodes, initializers, inputs and outputs say anything.
    """
    graph = model.graph
    del graph.value_info[:]
    del graph.quantization_annotation[:]
    del model.metadata_props[:]
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


def prune(model: onnx.ModelProto) -> None:
    """Drop nodes and initializers that no output depends on.

    Before: nodes in topological order, no subgraphs. After: every node and initializer is needed.
    Graph inputs stay, needed or not: they are the contract with the caller.
    """
    graph = model.graph
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    initializers = [one for one in graph.initializer if one.name in needed]
    _replace(graph.node, reversed(kept))
    _replace(graph.initializer, initializers)


def drop_auto_pad(model: onnx.ModelProto) -> None:
    """Drop the attribute by which a window says that its padding is said elsewhere.

    Before: windows have explicit padding. After: no node has ``auto_pad``.
    """
    for node in model.graph.node:
        for place, said in enumerate(node.attribute):
            if said.name != "auto_pad":
                continue
            if said.s != b"NOTSET":
                raise ValueError(f"padding of {node.op_type} must be explicit, found {said.s!r}")
            del node.attribute[place]
            break


def bypass_identities(model: onnx.ModelProto) -> None:
    """Let readers of a copy read the original.

    Before: nodes in topological order. After: an Identity is left only where it makes an output.
    """
    graph = model.graph
    public, originals = {one.name for one in graph.output}, dict[str, str]()
    kept = []
    for node in graph.node:
        _replace(node.input, [originals.get(name, name) for name in node.input])
        if node.op_type == "Identity" and node.output[0] not in public:
            originals[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    _replace(graph.node, kept)


def rename_tensors(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Give tensors new names wherever they stand; names not in `names` stay.

    Before: the new names are free. After: the graph computes the same.
    """
    graph = model.graph
    taken = tensor_names(model) - set(names)
    if clash := taken.intersection(names.values()):
        raise ValueError(f"tensor names must be free, found in use: {sorted(clash)}")
    for node in graph.node:
        _replace(node.input, [names.get(name, name) for name in node.input])
        _replace(node.output, [names.get(name, name) for name in node.output])
    for part in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        part.name = names.get(part.name, part.name)


def number_tensors(model: onnx.ModelProto, *, prefix: str) -> None:
    """Name what lies between inputs and outputs by its place (``prefix0``, ``prefix1``).

    Before: nodes in topological order. After: names depend on the graph alone, initializers keep
    the name of their parameter behind `prefix`, nodes have none.
    """
    graph = model.graph
    public = {one.name for one in (*graph.input, *graph.output)}
    names = {one.name: f"{prefix}{one.name}" for one in graph.initializer}
    inner = (name for node in graph.node for name in node.output if name and name not in public)
    names |= {name: f"{prefix}{place}" for place, name in enumerate(inner)}
    rename_tensors(model, names)
    for node in graph.node:
        node.name = ""


def unify_opsets(model: onnx.ModelProto) -> None:
    """Import each operator set once, and only those in use.

    Before: imports of one domain agree. After: one import per domain that a node needs.
    """
    found = {(one.domain, one.version) for one in model.opset_import}
    used = {node.domain for node in model.graph.node} | {""}
    if len({domain for domain, _ in found}) != len(found):
        raise ValueError(f"operator sets must agree, found {sorted(found)}")
    kept = [helper.make_opsetid(domain, v) for domain, v in sorted(found) if domain in used]
    _replace(model.opset_import, kept)


def set_header(model: onnx.ModelProto, *, name: str, description: str, version: str) -> None:
    """Say who made the file and for which runtimes: IR 8 loads on ONNX Runtime 1.17 and later.

    Before: opsets of :data:`OPSETS`. After: every header field is set, none from the tracer.
    """
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = PRODUCER, version
    model.domain, model.model_version = "", 1
    model.doc_string = description
    model.graph.name = name


def set_properties(model: onnx.ModelProto, properties: Mapping[str, str]) -> None:
    """Store facts that every ONNX Runtime binding can read, in the order of their names.

    Before: any model. After: `properties` are the model's only ones.
    """
    del model.metadata_props[:]
    helper.set_model_props(model, dict(sorted(properties.items())))


def check_operators(model: onnx.ModelProto, *, file: str) -> None:
    """Refuse a graph whose rows could depend on their batch, or that runs foreign code.

    Raises:
        ParityError: naming the operators that must not be there.
    """
    found = {f"function {one.name}" for one in model.functions}
    found |= {f"{n.domain}.{n.op_type}" for n in model.graph.node if n.domain not in OPSETS}
    if any(one.data_location == onnx.TensorProto.EXTERNAL for one in model.graph.initializer):
        found.add("external data")
    refused = BATCH_DEPENDENT | CONTROL_FLOW
    found |= {node.op_type for node in model.graph.node if node.op_type in refused}
    found |= set() if found else _in_double(model)
    if found:
        raise ParityError(
            f"{file} must compute each row by itself with standard operators, found "
            f"{', '.join(sorted(found))}; use operators that do not depend on the batch"
        )


def tidy(model: onnx.ModelProto, *, name: str, description: str, version: str) -> None:
    """All passes that make a finished graph fit to ship, in their order."""
    for one_pass in PASSES:
        one_pass(model)
    set_header(model, name=name, description=description, version=version)


def tensor_names(model: onnx.ModelProto) -> set[str]:
    """Every name in use in the graph."""
    graph = model.graph
    named = {one.name for one in (*graph.input, *graph.output, *graph.initializer)}
    return named.union(*({*node.input, *node.output} for node in graph.node)) - {""}


def _in_double(model: onnx.ModelProto) -> set[str]:
    doubles = _double_tensors(model)
    nodes = [node for node in model.graph.node if doubles.intersection(node.input)]
    return {f"{n.op_type} in float64" for n in nodes if n.op_type in BATCH_DEPENDENT_IN_DOUBLE}


def _double_tensors(model: onnx.ModelProto) -> set[str]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    typed = (*inferred.value_info, *inferred.input, *inferred.output)
    double = onnx.TensorProto.DOUBLE
    stored = {one.name for one in inferred.initializer if one.data_type == double}
    return stored | {one.name for one in typed if one.type.tensor_type.elem_type == double}


def _replace(field: Any, values: Iterable[Any]) -> None:
    """Set a repeated protobuf field, whose items may be among `values`."""
    copies = list(values)
    if copies and not isinstance(copies[0], str):
        copies = [type(one).FromString(one.SerializeToString()) for one in copies]
    del field[:]
    field.extend(copies)


PASSES: tuple[Callable[[onnx.ModelProto], None], ...] = (
    strip_metadata,
    prune,
    drop_auto_pad,
    unify_opsets,
)
