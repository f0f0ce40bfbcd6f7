"""What decoder.onnx is told of a row beside its code: raw condition columns, prepared as fitted.

Condition columns go through their own part of the prologue; a label is looked up among its classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from export.merge import cut
from export.passes import rename_tensors, tensor_names
from pipeline.graph import INT64, PREFIX, GraphBuilder
from pipeline.prologue import CODED, NUMERIC, Prologue
from pipeline.schema import Column, FeatureSchema
from pipeline.transforms import Categories, Scalars, Vectors

if TYPE_CHECKING:
    from training.checkpoint import Checkpoint

GIVEN_PREFIX = f"{PREFIX}condition/"
GIVEN = ("given_numeric", "given_codes")
"""Prepared conditions, as the module is traced with them."""


def told_columns(checkpoint: Checkpoint) -> tuple[Column, ...]:
    """The columns that the decoder is told, in table order, each with the role condition."""
    if checkpoint.spec.condition == "columns":
        return checkpoint.schema.with_role("condition")
    if checkpoint.spec.condition == "label" and checkpoint.prologue.label is not None:
        label = checkpoint.schema[checkpoint.prologue.label.column]
        return (label.model_copy(update={"role": "condition"}),)
    return ()


def told_schema(checkpoint: Checkpoint) -> FeatureSchema:
    """A contract of the conditions alone."""
    return FeatureSchema(columns=told_columns(checkpoint))


def condition_model(checkpoint: Checkpoint) -> onnx.ModelProto | None:
    """Raw conditions by name → ``given_numeric`` f32 [N, G] and ``given_codes`` i64 [N, H].

    Those that are not empty, behind `GIVEN_PREFIX` like all that lies between; None where the
    decoder is told nothing.
    """
    if not told_columns(checkpoint):
        return None
    prologue = checkpoint.prologue
    if checkpoint.spec.condition == "label":
        model = _label_model(prologue)
    else:
        part = part_of(prologue, told_schema(checkpoint))
        model = part.to_model()
        model = cut(model, inputs=[one.name for one in model.graph.input], outputs=[NUMERIC, CODED])
        # A condition that no output reads is an input all the same.
        del model.graph.input[:]
        model.graph.input.extend(part.to_model().graph.input)
    names = {NUMERIC: f"{GIVEN_PREFIX}{GIVEN[0]}", CODED: f"{GIVEN_PREFIX}{GIVEN[1]}"}
    inner = {name for name in tensor_names(model) if name.startswith(PREFIX)} - set(names)
    names |= {name: f"{GIVEN_PREFIX}{name.removeprefix(PREFIX)}" for name in inner}
    rename_tensors(model, {old: new for old, new in names.items() if old in tensor_names(model)})
    return model


def part_of(prologue: Prologue, schema: FeatureSchema) -> Prologue:
    """The part of a fitted prologue that prepares the columns of `schema`."""
    names = {column.name for column in schema.columns}
    return Prologue(
        schema,
        Scalars(tuple(one for one in prologue.scalars.columns if one.column in names)),
        Categories(tuple(one for one in prologue.categories.columns if one.column in names)),
        Vectors(tuple(one for one in prologue.vectors.columns if one.column in names)),
    )


def inverse_model(checkpoint: Checkpoint) -> onnx.ModelProto:
    """The prologue's inverse, without the columns that the decoder is told."""
    model = checkpoint.prologue.inverse_model()
    told = {column.name for column in told_columns(checkpoint)}
    inputs = [one.name for one in model.graph.input]
    kept = [one.name for one in model.graph.output if one.name not in told]
    return cut(model, inputs=inputs, outputs=kept) if told else model


def _label_model(prologue: Prologue) -> onnx.ModelProto:
    assert prologue.label is not None
    g = GraphBuilder()
    codes = g.stack([prologue.label.lookup(g)])
    g.output(g("Transpose", codes, perm=[1, 0]), CODED, INT64, ["batch", 1])
    return g.model("label")
