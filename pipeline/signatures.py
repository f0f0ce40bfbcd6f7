"""Which inputs and outputs each model of a bundle must have: the schema, as ONNX says it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import onnx
from onnx import TensorProto

from pipeline.errors import BundleError
from pipeline.feed import CODES, NUMBERS, TIMESTAMPS, codes_output
from pipeline.graph import BOOL, DOUBLE, FLOAT, INT64, STRING
from pipeline.schema import OUTPUT_NAMES, Column, FeatureSchema

_EMBEDDING, _ERROR = OUTPUT_NAMES

Port: TypeAlias = tuple[int, tuple[int | None, ...]]
"""Element type and shape; None is a dimension that is free, such as the rows of a run."""


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs that a file must have.

    `optional` inputs may be there; with `partial`, some outputs may be missing.
    """

    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]
    optional: Mapping[str, Port] = field(default_factory=dict)
    partial: bool = False


def signature(file: str, schema: FeatureSchema, *, dim: int) -> Signature:
    """The signature of the model `file`.

    Raises:
        BundleError: for a name that no model of a bundle has.
    """
    if file not in SIGNATURES:
        raise BundleError(f"models are called {', '.join(SIGNATURES)}, found {file}")
    return SIGNATURES[file](schema, dim)


def mismatches(graph: onnx.GraphProto, required: Signature) -> Iterator[str]:
    """What is missing, foreign or different among the inputs and outputs of `graph`."""
    inputs = {**required.optional, **required.inputs}
    yield from _compare("input", graph.input, inputs, needed=required.inputs)
    needed = {} if required.partial else required.outputs
    yield from _compare("output", graph.output, required.outputs, needed=needed)


def _compare(
    what: str,
    found: Sequence[onnx.ValueInfoProto],
    required: Mapping[str, Port],
    *,
    needed: Iterable[str],
) -> Iterator[str]:
    for name, times in Counter(one.name for one in found).items():
        if times > 1:
            yield f"{what} {name!r} twice"
    for one in found:
        if one.name not in required:
            yield f"{what} {one.name!r}, which the schema does not have"
        elif (declared := port(one)) != required[one.name]:
            yield f"{what} {one.name!r} as {shown(declared)} instead of {shown(required[one.name])}"
        elif _has_nameless(one):
            yield f"{what} {one.name!r} with a length that has no name"
    given = {one.name for one in found}
    missing = [name for name in needed if name not in given]
    if missing:
        yield f"no {what} {missing[0]!r}"


def port(value: onnx.ValueInfoProto) -> Port | None:
    """Element type and shape of a tensor; None where it has no shape."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    dims = tensor.shape.dim
    return tensor.elem_type, tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)


def _has_nameless(value: onnx.ValueInfoProto) -> bool:
    """Whether a free dimension has no name, or one like unk__0, with which ONNX says the same."""
    free = [d.dim_param for d in value.type.tensor_type.shape.dim if not d.HasField("dim_value")]
    return any(not name or name.startswith("unk__") for name in free)


def shown(found: Port | None) -> str:
    """A port as text."""
    if found is None:
        return "a tensor of unknown shape"
    names = {number: name.lower() for name, number in TensorProto.DataType.items()}
    shape = ", ".join("rows" if one is None else str(one) for one in found[1])
    return f"{names.get(found[0], found[0])} [{shape}]"


def _encoder(schema: FeatureSchema, dim: int) -> Signature:
    return Signature(_inputs(schema), {_EMBEDDING: (FLOAT, (None, dim))})


def _scorer(schema: FeatureSchema, dim: int) -> Signature:
    scores: dict[str, Port] = {_EMBEDDING: (FLOAT, (None, dim)), _ERROR: (FLOAT, (None,))}
    return Signature(_inputs(schema), scores)


def _core(schema: FeatureSchema, dim: int) -> Signature:
    blocks = (
        (NUMBERS, DOUBLE, schema.by_kind("number", "boolean")),
        (TIMESTAMPS, INT64, schema.by_kind("timestamp")),
        (CODES, INT64, schema.by_kind("category")),
    )
    inputs: dict[str, Port] = {
        name: (dtype, (len(columns), None)) for name, dtype, columns in blocks if columns
    }
    inputs |= {one.name: _raw(one) for one in schema.by_kind("vector", "image")}
    return Signature(inputs, {_EMBEDDING: (FLOAT, (None, dim))})


def _lookup(schema: FeatureSchema, dim: int) -> Signature:
    columns = schema.by_kind("category")
    codes: dict[str, Port] = {codes_output(one.name): (INT64, (None,)) for one in columns}
    return Signature({one.name: _raw(one) for one in columns}, codes)


def _decoder(schema: FeatureSchema, dim: int) -> Signature:
    # A table whose columns are all constant has nothing to decode them from.
    columns = {one.name: _decoded(one) for one in schema.features}
    told = {one.name: _raw(one) for one in schema.with_role("condition", "label") if one.kind}
    embedding: dict[str, Port] = {_EMBEDDING: (FLOAT, (None, dim))}
    return Signature(embedding, columns, optional=told, partial=True)


def _inputs(schema: FeatureSchema) -> dict[str, Port]:
    return {one.name: _raw(one) for one in schema.features}


def _raw(column: Column) -> Port:
    if column.kind in ("number", "boolean"):
        return DOUBLE, (None,)
    if column.kind == "timestamp":
        return INT64, (None,)
    if column.kind == "category":
        return STRING if "string" in column.type else INT64, (None,)
    return FLOAT, (None, column.length)


def _decoded(column: Column) -> Port:
    return (BOOL, (None,)) if column.kind == "boolean" else _raw(column)


SIGNATURES: dict[str, Callable[[FeatureSchema, int], Signature]] = {
    "encoder.onnx": _encoder,
    "core.onnx": _core,
    "lookup.onnx": _lookup,
    "decoder.onnx": _decoder,
    "scorer.onnx": _scorer,
}
