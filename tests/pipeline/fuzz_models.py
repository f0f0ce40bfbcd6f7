"""Random graphs of allowed operators with hostile constants: audited, and run when they pass.

Run by test_bad_models.py in a process of its own, because what it looks for is a process that dies:
``python fuzz_models.py SEED MODELS FILE`` prints how many were refused, failed and ran. FILE holds
the model at hand.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.defs import OpSchema, get_schema

from pipeline import audit as auditing
from pipeline.audit import audit
from pipeline.errors import BundleError
from pipeline.runtime import Session
from pipeline.signatures import Signature, port

EXTREMES = [-(2**63), -(2**31), -5, -2, -1, 0, 1, 2, 3, 7, 100, 2**20, 2**31, 2**40, 2**63 - 1]
NUMBERS = [np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-40, 0.0, -1.0, 2.5]
TYPES = [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.BOOL]
SHAPES: list[list[str | int]] = [["n"], ["n", 3], [3, "n"], ["n", 2, 5], ["n", 2, 5, 5]]
ROWS = (0, 1, 3)


class Maker:
    """Makes one random model."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.constants: list[TensorProto] = []
        self.nodes: list[onnx.NodeProto] = []
        self.names = ["x"]
        self.dtype = self.random.choice([*TYPES[:3], TensorProto.STRING])
        self.shape = self.random.choice(SHAPES)

    def model(self) -> onnx.ModelProto:
        for _ in range(self.random.choice([1, 1, 1, 2, 3])):
            self._node()
        x = helper.make_tensor_value_info("x", self.dtype, self.shape)
        y = helper.make_tensor_value_info("y", self.dtype, self.shape)
        nodes = [*self.nodes, helper.make_node("Identity", ["x"], ["y"])]
        graph = helper.make_graph(nodes, "g", [x], [y], self.constants)
        opsets = [helper.make_opsetid(*one) for one in sorted(auditing.OPSETS)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=8, producer_name="parquet2vec"
        )

    def _node(self) -> None:
        operator = self.random.choice(sorted(auditing.OPERATORS))
        domain, _, name = operator.rpartition(".")
        schema = get_schema(name, dict(auditing.OPSETS)[domain], domain)
        count = self.random.randint(
            schema.min_input, max(schema.min_input, min(schema.max_input, 5))
        )
        inputs = [self._input() for _ in range(count)]
        outputs = [
            f"r{len(self.nodes)}/{place}"
            for place in range(self.random.randint(1, max(1, min(schema.max_output, 3))))
        ]
        attributes = {
            one: self._attribute(one, schema.attributes[one].type)
            for one in sorted(auditing.OPERATORS[operator])
            if schema.attributes[one].required or self.random.random() < 0.6
        }
        node = helper.make_node(name, inputs, outputs, domain=domain)
        for one, value in attributes.items():
            kind = onnx.AttributeProto.AttributeType.Value(schema.attributes[one].type.name)
            node.attribute.append(helper.make_attribute(one, value, attr_type=kind))
        self.nodes.append(node)
        self.names += outputs

    def _input(self) -> str:
        drawn = self.random.random()
        if drawn < 0.01:
            return ""
        return self.random.choice(self.names) if drawn < 0.5 else self._constant()

    def _constant(self) -> str:
        dtype = self.random.choice(TYPES)
        rank = self.random.choice([0, 1, 1, 2, 3, 4, 4])
        shape = [self.random.choice([0, 1, 1, 2, 3, 5]) for _ in range(rank)]
        values = self._values(dtype, shape)
        if dtype == TensorProto.FLOAT:  # others are refused at once
            values = np.nan_to_num(values)
        self.constants.append(numpy_helper.from_array(values, f"c{len(self.constants)}"))
        return self.constants[-1].name

    def _values(self, dtype: int, shape: list[int]) -> np.ndarray[Any, Any]:
        if dtype == TensorProto.STRING:
            drawn = [self.random.choice(["", "a", "b"]) for _ in range(int(np.prod(shape)))]
            return np.array(drawn, object).reshape(shape)
        pool: list[Any] = EXTREMES if dtype == TensorProto.INT64 else NUMBERS
        tame = [0, 1, 2, -1]
        finite = self.random.random() < 0.5
        drawn = [self.random.choice(tame if finite else pool) for _ in range(int(np.prod(shape)))]
        with np.errstate(over="ignore", invalid="ignore"):
            return np.array(drawn).astype(helper.tensor_dtype_to_np_dtype(dtype)).reshape(shape)

    def _attribute(self, name: str, kind: OpSchema.AttrType) -> Any:
        low, high = auditing._RANGES.get(name, (0, 1))
        edges = [one for one in (low, high, -2, -1, 0, 1, 2, 3) if low <= one <= high]
        if name == "to":
            return self.random.choice(TYPES)
        if self.random.random() < 0.02:
            edges = EXTREMES
        some = range(auditing._LENGTHS.get(name, self.random.choice([0, 1, 2, 2, 4])))
        return {
            "INT": lambda: self.random.choice(edges),
            "INTS": lambda: [self.random.choice(edges) for _ in some],
            "FLOAT": lambda: self.random.choice(NUMBERS),
            "FLOATS": lambda: [self.random.choice(NUMBERS) for _ in some],
            "STRING": lambda: self.random.choice(["", "a"]),
            "STRINGS": lambda: [self.random.choice(["", "a", "b"]) for _ in some],
        }[kind.name]()


def try_one(seed: int, file: Path) -> str:
    """How far one random model comes."""
    maker = Maker(seed)
    model = maker.model()
    inputs = {"x": (maker.dtype, tuple(None if d == "n" else int(d) for d in maker.shape))}
    content = model.SerializeToString(deterministic=True)
    file.write_bytes(content)
    try:
        audit(content, Signature(inputs, {"y": inputs["x"]}), where="model")
        # It may have results that nobody asked for; as outputs they will be computed.
        known = {one.name: one for one in onnx.shape_inference.infer_shapes(model).graph.value_info}
        for name in maker.names[1:]:
            model.graph.output.append(known[name])
        content = model.SerializeToString(deterministic=True)
        file.write_bytes(content)
        outputs = {one.name: port(one) for one in model.graph.output}
        audit(content, Signature(inputs, outputs), where="model")
        session = Session(content)
    except BundleError as error:
        return "failed to load" if "cannot be loaded" in str(error) else "refused"
    failed = 0
    for rows in ROWS:
        shape = [rows if d == "n" else int(d) for d in maker.shape]
        try:
            session.run(session.outputs, {"x": maker._values(maker.dtype, shape)})
        except BundleError:
            failed += 1
    return "failed to run" if failed == len(ROWS) else "ran"


def main() -> None:
    seed, models, file = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    print(json.dumps(Counter(try_one(seed + place, file) for place in range(models))))


if __name__ == "__main__":
    main()
