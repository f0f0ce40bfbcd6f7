"""Cut and join ONNX graphs: the traced network behind the prologue, or in front of its inverse."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import onnx
from onnx import helper

from export.passes import prune, rename_tensors, tensor_names


def cut(
    model: onnx.ModelProto, *, inputs: Sequence[str], outputs: Sequence[str]
) -> onnx.ModelProto:
    """The part of `model` that computes `outputs`; of `inputs`, those that it reads.

    Raises:
        ValueError: if the part reads a graph input that is not among `inputs`.
    """
    part = onnx.ModelProto()
    part.CopyFrom(model)
    kept = [one for one in model.graph.output if one.name in outputs]
    del part.graph.output[:]
    part.graph.output.extend(sorted(kept, key=lambda one: outputs.index(one.name)))
    prune(part)
    read = {name for node in part.graph.node for name in node.input}
    read |= {one.name for one in part.graph.output}
    needed = [one for one in model.graph.input if one.name in read]
    if foreign := {one.name for one in needed} - set(inputs):
        raise ValueError(f"{list(outputs)} must depend on {list(inputs)} only, found {foreign}")
    del part.graph.input[:]
    part.graph.input.extend(needed)
    return part


def join(
    first: onnx.ModelProto,
    second: onnx.ModelProto,
    *,
    wires: Mapping[str, str],
    free: Collection[str] = (),
) -> onnx.ModelProto:
    """`second` behind `first`: its input ``wires[output]`` is fed by that output of `first`.

    The inputs are those of `first`, and those of `second` that are `free`; the outputs those of
    `second`; what neither needs is gone. An output of `first` that is wired is called by the name
    of the input it feeds.

    Raises:
        ValueError: if an input of `second` is left open, or two tensors would share a name.
    """
    head, tail = onnx.ModelProto(), onnx.ModelProto()
    head.CopyFrom(first)
    tail.CopyFrom(second)
    if open_inputs := {one.name for one in tail.graph.input} - {*wires.values(), *free}:
        raise ValueError(f"every input must be wired, found open: {sorted(open_inputs)}")
    rename_tensors(head, {name: fed for name, fed in wires.items() if name in _outputs(head)})
    if clash := (tensor_names(head) & tensor_names(tail)) - set(wires.values()):
        raise ValueError(f"tensor names must differ, found in both graphs: {sorted(clash)}")
    head.graph.input.extend(one for one in tail.graph.input if one.name in free)
    for graph, other in ((head.graph, tail.graph),):
        graph.node.extend(other.node)
        graph.initializer.extend(other.initializer)
        del graph.output[:]
        graph.output.extend(other.output)
    imports = {(one.domain, one.version) for one in (*head.opset_import, *tail.opset_import)}
    del head.opset_import[:]
    head.opset_import.extend(helper.make_opsetid(*one) for one in sorted(imports))
    prune(head)
    return head


def _outputs(model: onnx.ModelProto) -> set[str]:
    return {one.name for one in model.graph.output}
