"""The five ONNX files of a bundle, made from a checkpoint: the prologue, its inverse, one trace."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto, helper

from export.conditions import (
    GIVEN_PREFIX,
    condition_model,
    inverse_model,
    told_columns,
    told_schema,
)
from export.merge import cut, join
from export.passes import (
    bypass_identities,
    check_operators,
    rename_tensors,
    set_properties,
    tidy,
)
from export.trace import (
    EMBEDDING,
    ERROR,
    INPUTS,
    LATENT,
    Widths,
    input_name,
    output_name,
    trace,
)
from pipeline.errors import ParityError, SchemaError
from pipeline.feed import NULL_INT, NULL_TEXT
from pipeline.schema import OUTPUT_NAMES, FeatureSchema

if TYPE_CHECKING:
    from training.checkpoint import Checkpoint

ENCODER, CORE, LOOKUP = "encoder.onnx", "core.onnx", "lookup.onnx"
DECODER, SCORER = "decoder.onnx", "scorer.onnx"
LICENCE = "Apache-2.0 (software); the weights follow the terms of the training data"
DESCRIPTIONS = {
    ENCODER: "Table row to embedding: one input per column, by the column's own name.",
    CORE: "Blocks of numbers and category codes to embedding: encoder.onnx without its strings.",
    LOOKUP: "Category values to codes, each column with a length of its own.",
    DECODER: "Embedding, and conditions if any, to table row: one output per column, by its name.",
    SCORER: "Table row to embedding and reconstruction error.",
}

_EMBEDDING, _ERROR = OUTPUT_NAMES


def widths(checkpoint: Checkpoint) -> Widths:
    """The widths of the prepared matrices and of the logits."""
    prologue = checkpoint.prologue
    given = condition_model(checkpoint)
    columns = {
        one.name.removeprefix(GIVEN_PREFIX): one.type.tensor_type.shape.dim[1].dim_value
        for one in (given.graph.output if given else ())
    }
    return Widths(
        numeric=len(prologue.numeric_slots),
        ranked=len(prologue.ranked_slots),
        codes=len(prologue.code_columns),
        logits=sum(prologue.classes),
        **columns,
    )


def build(checkpoint: Checkpoint, *, version: str) -> dict[str, onnx.ModelProto]:
    """The models of a bundle by file name, each one checked in full; takes seconds.

    Raises:
        SchemaError: if a feature column has the name of an output.
        ParityError: if the module cannot be traced, or its graph is not fit to ship.
    """
    check_names(checkpoint.schema)
    check_names(told_schema(checkpoint))
    shape, prologue = widths(checkpoint), checkpoint.prologue
    dim = checkpoint.spec.dim
    network = trace(checkpoint.module, widths=shape, dim=dim)
    raw, body, lookup = prologue.to_model(), prologue.body_model(), prologue.lookup_model()
    models = {
        ENCODER: encoder(raw, network, dim=dim),
        CORE: encoder(body, network, dim=dim),
        DECODER: decoder(
            network,
            inverse_model(checkpoint),
            conditions=condition_model(checkpoint),
            shape=shape,
            dim=dim,
        ),
        SCORER: scorer(raw, network, dim=dim),
    } | ({LOOKUP: lookup} if lookup is not None else {})
    facts = properties(checkpoint)
    for file, model in models.items():
        name = file.removesuffix(".onnx")
        tidy(model, name=name, description=DESCRIPTIONS[file], version=version)
        set_properties(model, facts)
        check_model(model, file=file)
    return dict(sorted(models.items()))


def encoder(prologue: onnx.ModelProto, network: onnx.ModelProto, *, dim: int) -> onnx.ModelProto:
    """The inputs of `prologue` → ``embedding`` float32 [batch, dim]."""
    model = _behind(prologue, network, answers=(EMBEDDING,))
    _expose(model, {output_name(EMBEDDING): _EMBEDDING}, {_EMBEDDING: ["batch", dim]})
    return model


def scorer(prologue: onnx.ModelProto, network: onnx.ModelProto, *, dim: int) -> onnx.ModelProto:
    """The inputs of `prologue` → ``embedding`` and ``reconstruction_error`` float32 [batch]."""
    model = _behind(prologue, network, answers=(EMBEDDING, ERROR))
    names = {output_name(EMBEDDING): _EMBEDDING, output_name(ERROR): _ERROR}
    _expose(model, names, {_EMBEDDING: ["batch", dim], _ERROR: ["batch"]})
    return model


def decoder(
    network: onnx.ModelProto,
    inverse: onnx.ModelProto,
    *,
    conditions: onnx.ModelProto | None,
    shape: Widths,
    dim: int,
) -> onnx.ModelProto:
    """``embedding`` float32 [batch, dim], and conditions → the raw columns by name.

    A recipe with conditions reads each of them as one more input, by the column's own name and
    type, raw as in ``encoder.onnx`` (the manifest's `conditions` names them): the condition columns
    of the schema, or else the label. They are given, so they are no outputs. A null, or a value
    that training never saw, stands for "not known": what comes out then follows the whole table.
    A label is text where its column is, else a float64 (its own value; booleans 0 and 1).

    In between, the prepared reconstruction keeps the traced outputs' names.
    """
    answers = [output_name(name) for name in shape.decoded]
    entry = input_name(LATENT)
    inputs = [entry, *(input_name(name) for name in shape.given)]
    part = cut(network, inputs=inputs, outputs=answers)
    if conditions is not None:
        told = {f"{GIVEN_PREFIX}{name}": input_name(name) for name in shape.given}
        part = join(conditions, part, wires=told, free=[entry])
    wires = {output_name(_bare(one.name)): one.name for one in inverse.graph.input}
    model = join(part, inverse, wires=wires)
    rename_tensors(model, {fed: traced for traced, fed in wires.items()})
    rename_tensors(model, {entry: _EMBEDDING})
    raw = [] if conditions is None else list(conditions.graph.input)
    del model.graph.input[:]
    model.graph.input.extend([_floats(_EMBEDDING, ["batch", dim]), *raw])
    return model


def properties(checkpoint: Checkpoint) -> dict[str, str]:
    """What every file says of itself, as text, readable from any ONNX Runtime binding."""
    schema: FeatureSchema = checkpoint.schema
    nulls = {"number": "NaN", "boolean": "NaN", "vector": "NaN", "image": "NaN"}
    nulls |= {"timestamp": str(NULL_INT), "category": NULL_TEXT, "integer category": str(NULL_INT)}
    return {
        "parquet2vec.schema": schema.model_dump_json(),
        "parquet2vec.schema_fingerprint": schema.fingerprint,
        "parquet2vec.null_tokens": json.dumps(nulls, sort_keys=True),
        "parquet2vec.text_normalisation": "none",
        "parquet2vec.timestamp_unit": "microseconds since 1970-01-01",
        "parquet2vec.conditions": json.dumps([one.name for one in told_columns(checkpoint)]),
        "parquet2vec.dim": str(checkpoint.spec.dim),
        "parquet2vec.recipe": checkpoint.spec.recipe,
        "parquet2vec.training_data": str(checkpoint.training_data["fingerprint"]),
        "parquet2vec.licence": LICENCE,
    }


def check_names(schema: FeatureSchema) -> None:
    """Nothing, when no feature column is called like an output.

    Raises:
        SchemaError: naming the columns to rename.
    """
    if taken := [column.name for column in schema.features if column.name in OUTPUT_NAMES]:
        raise SchemaError(
            f"feature columns must not be called like the outputs {', '.join(OUTPUT_NAMES)}, "
            f"found {', '.join(taken)}; rename or ignore"
        )


def check_model(model: onnx.ModelProto, *, file: str) -> None:
    """Nothing, when ONNX's checker and our list of operators accept the model.

    Raises:
        ParityError: with what was found.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ParityError(f"{file} must pass onnx.checker, found: {reason}") from error
    check_operators(model, file=file)


def _behind(
    prologue: onnx.ModelProto, network: onnx.ModelProto, *, answers: tuple[str, ...]
) -> onnx.ModelProto:
    part = cut(
        network,
        inputs=[input_name(name) for name in INPUTS],
        outputs=[output_name(name) for name in answers],
    )
    read = {one.name for one in part.graph.input}
    prepared = [one.name for one in prologue.graph.output]
    wires = {name: input_name(_bare(name)) for name in prepared if input_name(_bare(name)) in read}
    model = join(prologue, part, wires=wires)
    bypass_identities(model)
    return model


def _expose(
    model: onnx.ModelProto, names: dict[str, str], shapes: dict[str, list[str | int]]
) -> None:
    rename_tensors(model, names)
    del model.graph.output[:]
    model.graph.output.extend(_floats(name, shape) for name, shape in shapes.items())


def _floats(name: str, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _bare(name: str) -> str:
    """The matrix that a prologue's tensor is, whatever prefix it carries."""
    return name.rpartition("/")[2]
