"""What the gate judges: a bundle's files before they are written, and the module they come from."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch

from export.adversary import adversarial_rows
from export.models import DECODER, LOOKUP, widths
from export.runtime import Arrays, Runtime, count
from export.trace import INPUTS, output_name
from pipeline.feed import feed
from pipeline.prologue import CODES, NUMBERS, TIMESTAMPS
from pipeline.schema import OUTPUT_NAMES

if TYPE_CHECKING:
    from training.checkpoint import Checkpoint

EMBEDDING, ERROR = OUTPUT_NAMES


@dataclass(frozen=True)
class Rows:
    """Rows of one origin: model inputs by column name, and the module's own answers."""

    name: str
    feeds: Arrays
    prepared: Arrays
    answers: Arrays


class Candidate:
    """The files of a bundle that is not written yet, with what they are judged by."""

    def __init__(self, files: Mapping[str, bytes], checkpoint: Checkpoint) -> None:
        self.files, self.checkpoint = files, checkpoint
        self.prologue = checkpoint.prologue
        self.shape = widths(checkpoint)
        self.module = copy.deepcopy(checkpoint.module).cpu().eval()
        self._prepare = Runtime(self.prologue.to_model())

    @cached_property
    def rows(self) -> tuple[Rows, ...]:
        """Held-out rows, then adversarial ones."""
        ordinary = feed(self.checkpoint.held_out, self.checkpoint.schema)
        extreme = adversarial_rows(self.checkpoint.schema, ordinary)
        named = (("held-out", ordinary), ("adversarial", extreme))
        return tuple(self._answered(name, feeds) for name, feeds in named)

    @cached_property
    def instrumented_decoder(self) -> onnx.ModelProto:
        """The decoder that also shows its reconstruction before it becomes columns."""
        model: onnx.ModelProto = onnx.ModelProto.FromString(self.files[DECODER])
        for name in self.shape.decoded:
            shown = onnx.helper.make_tensor_value_info(
                output_name(name), onnx.TensorProto.FLOAT, ["batch", getattr(self.shape, name)]
            )
            model.graph.output.append(shown)
        return model

    @cached_property
    def latents(self) -> dict[str, Arrays]:
        """Codes to decode [N, d] by origin: held-out rows, the prior, far outside, all zero."""
        prior = np.random.default_rng(0).normal(size=(65, self.checkpoint.spec.dim))
        held_out = self.rows[0].answers[EMBEDDING][:65]
        origins = {
            "held-out": held_out,
            "prior": prior,
            "outside": 100 * prior,
            "origin": 0 * prior,
        }
        return {name: {EMBEDDING: codes.astype(np.float32)} for name, codes in origins.items()}

    def blocks(self, feeds: Arrays) -> Arrays:
        """The inputs of ``core.onnx`` for the rows of `feeds`, strings looked up."""
        codes = Runtime(self.files[LOOKUP])(feeds) if LOOKUP in self.files else {}
        schema = self.checkpoint.schema
        stacks = {
            NUMBERS: [feeds[column.name] for column in self.prologue.number_columns],
            TIMESTAMPS: [feeds[column.name] for column in schema.by_kind("timestamp")],
            CODES: [codes[f"code:{name}"] for name in self.prologue.code_columns],
        }
        vectors = {one.name: feeds[one.name] for one in schema.by_kind("vector", "image")}
        return {name: np.stack(found) for name, found in stacks.items() if found} | vectors

    def decoded(self, latents: Arrays) -> Arrays:
        """The module's reconstruction in prepared space."""
        with torch.inference_mode():
            found = self.module.decode(torch.from_numpy(latents[EMBEDDING]))
        return {output_name(n): getattr(found, n).numpy() for n in self.shape.decoded}

    def _answered(self, name: str, feeds: Arrays) -> Rows:
        prepared = self._prepare(feeds)
        total = count(feeds)
        empty = np.empty((total, 0), np.float32)
        matrices = [prepared.get(one, empty) for one in INPUTS[:2]]
        matrices.append(prepared.get("codes", empty.astype(np.int64)))
        with torch.inference_mode():
            tensors = [torch.from_numpy(matrix) for matrix in matrices]
            embedding = self.module.embed(*tensors).numpy()
            error = self.module.reconstruction_error(*tensors).numpy()
        return Rows(name, feeds, prepared, {EMBEDDING: embedding, ERROR: error})
