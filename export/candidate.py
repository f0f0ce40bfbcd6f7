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
from export.conditions import GIVEN_PREFIX, condition_model, inverse_model, told_schema
from export.models import CORE, DECODER, LOOKUP, widths
from export.parity import Array
from export.passes import tensor_names
from export.runtime import Arrays, Runtime, count, take
from export.trace import INPUTS, condition, output_name
from pipeline.feed import CODES, NUMBERS, TIMESTAMPS, codes_output, feed
from pipeline.schema import OUTPUT_NAMES

if TYPE_CHECKING:
    from training.autoencoder import Autoencoder
    from training.checkpoint import Checkpoint

EMBEDDING, ERROR = OUTPUT_NAMES
PROLOGUE, INVERSE, CONDITIONS = "prologue", "inverse", "conditions"
SHOWN_DECODER = "decoder that also shows its reconstruction before it becomes columns"


@dataclass(frozen=True)
class Rows:
    """Rows of one origin: model inputs by column name, and the module's own answers.

    `rounding` is how far float32 alone moves each answer, measured against float64.
    """

    name: str
    feeds: Arrays
    prepared: Arrays
    answers: Arrays
    rounding: dict[str, float]


class Candidate:
    """The files of a bundle that is not written yet, with what they are judged by."""

    def __init__(self, files: Mapping[str, bytes], checkpoint: Checkpoint) -> None:
        self.files, self.checkpoint = files, checkpoint
        self.prologue = checkpoint.prologue
        self.shape = widths(checkpoint)
        self._module = copy.deepcopy(checkpoint.module).cpu().eval()
        self._exact = copy.deepcopy(self._module).double()
        self._runtimes: dict[tuple[str, int], Runtime] = {}

    @cached_property
    def rows(self) -> tuple[Rows, ...]:
        """Held-out rows, then adversarial ones."""
        ordinary = feed(self.checkpoint.held_out, self.checkpoint.schema)
        extreme = adversarial_rows(self.checkpoint.schema, ordinary)
        named = (("held-out", ordinary), ("adversarial", extreme))
        return tuple(self._answered(name, feeds) for name, feeds in named)

    @cached_property
    def models(self) -> dict[str, bytes]:
        """The files, and the helpers that judge them."""
        helpers = {
            PROLOGUE: self.prologue.to_model(),
            INVERSE: inverse_model(self.checkpoint),
            SHOWN_DECODER: self._shown_decoder(),
        }
        if (conditions := condition_model(self.checkpoint)) is not None:
            helpers[CONDITIONS] = conditions
        return {**self.files} | {name: one.SerializeToString() for name, one in helpers.items()}

    def run(self, name: str, feeds: Arrays, *, threads: int = 1) -> Arrays:
        """What one of `models` answers; ``core.onnx`` takes raw columns like the encoder."""
        taken = self._blocks(feeds) if name == CORE else feeds
        return self._runtime(name, threads=threads)(taken)

    def columns(self, decoded: Arrays) -> Arrays:
        """The raw columns that the prologue's inverse makes of a reconstruction."""
        return self.run(INVERSE, self.inverse_inputs(decoded))

    def inverse_inputs(self, decoded: Arrays) -> Arrays:
        """A reconstruction under the names that the prologue's inverse takes."""
        names = self._runtime(INVERSE).inputs
        return {name: decoded[output_name(name.rpartition("/")[2])] for name in names}

    def _runtime(self, name: str, *, threads: int = 1) -> Runtime:
        # Loading a model of 500 columns takes a tenth of a second, and there are many checks.
        if (name, threads) not in self._runtimes:
            self._runtimes[name, threads] = Runtime(self.models[name], threads=threads)
        return self._runtimes[name, threads]

    def _shown_decoder(self) -> onnx.ModelProto:
        model: onnx.ModelProto = onnx.ModelProto.FromString(self.files[DECODER])
        for name in self.decoded_matrices:
            shown = onnx.helper.make_tensor_value_info(
                output_name(name), onnx.TensorProto.FLOAT, ["batch", getattr(self.shape, name)]
            )
            model.graph.output.append(shown)
        return model

    @cached_property
    def decoded_matrices(self) -> tuple[str, ...]:
        """The prepared reconstructions that some column of the decoder is made of."""
        named = tensor_names(onnx.ModelProto.FromString(self.files[DECODER]))
        return tuple(name for name in self.shape.decoded if output_name(name) in named)

    @cached_property
    def latents(self) -> dict[str, Arrays]:
        """What to decode by origin: held-out rows, the prior, far outside, all zero.

        Conditions are those of the held-out rows, and for the other codes extremes among them.
        """
        prior = np.random.default_rng(0).normal(size=(65, self.checkpoint.spec.dim))
        held_out = self.rows[0].answers[EMBEDDING][:65]
        origins = {
            "held-out": held_out,
            "prior": prior,
            "outside": 100 * prior,
            "origin": 0 * prior,
        }
        return {
            name: {EMBEDDING: codes.astype(np.float32)}
            | self._conditions(len(codes), extreme=name != "held-out")
            for name, codes in origins.items()
        }

    def _conditions(self, rows: int, *, extreme: bool) -> Arrays:
        """Raw conditions of as many rows, by name."""
        schema, label = told_schema(self.checkpoint), self.prologue.label
        if not schema.columns:
            return {}
        ordinary = self.rows[0].feeds
        if self.checkpoint.spec.condition == "label" and label is not None:
            dtype = object if label.taken == "text" else np.float64
            dtype = np.int64 if label.taken == "integer" else dtype
            values = np.array(label.values, dtype)
            ordinary = {label.column: np.resize(values, max(rows, len(values)))}
        told = {column.name: ordinary[column.name] for column in schema.columns}
        if not extreme:
            return take(told, slice(rows))
        mixed = adversarial_rows(schema, told)
        return take(mixed, np.linspace(0, count(mixed) - 1, rows).astype(int))

    def _blocks(self, feeds: Arrays) -> Arrays:
        codes = self.run(LOOKUP, feeds) if LOOKUP in self.files else {}
        schema = self.checkpoint.schema
        stacks = {
            NUMBERS: [feeds[column.name] for column in self.prologue.number_columns],
            TIMESTAMPS: [feeds[column.name] for column in schema.by_kind("timestamp")],
            CODES: [codes[codes_output(name)] for name in self.prologue.code_columns],
        }
        vectors = {one.name: feeds[one.name] for one in schema.by_kind("vector", "image")}
        return {name: np.stack(found) for name, found in stacks.items() if found} | vectors

    def decoded(self, latents: Arrays) -> Arrays:
        """The module's reconstruction in prepared space."""
        codes, prepared = torch.from_numpy(latents[EMBEDDING]), None
        if self.shape.given:
            found = self.run(CONDITIONS, latents)
            tensors = {n.removeprefix(GIVEN_PREFIX): torch.from_numpy(v) for n, v in found.items()}
            prepared = condition(tensors, codes[:, :0])
        with torch.inference_mode():
            answer = self._module.decode(codes, prepared)
        return {output_name(n): getattr(answer, n).numpy() for n in self.decoded_matrices}

    def _answered(self, name: str, feeds: Arrays) -> Rows:
        prepared = {name.rpartition("/")[2]: v for name, v in self.run(PROLOGUE, feeds).items()}
        total = count(feeds)
        empty = np.empty((total, 0), np.float32)
        matrices = [prepared.get(one, empty) for one in INPUTS[:2]]
        matrices.append(prepared.get("codes", empty.astype(np.int64)))
        with torch.inference_mode():
            tensors = [torch.from_numpy(matrix) for matrix in matrices]
            answers = _answers(self._module, tensors)
            wide = [one.double() if one.is_floating_point() else one for one in tensors]
            exact = _answers(self._exact, wide)
        rounding = {one: _largest_difference(answers[one], exact[one]) for one in answers}
        return Rows(name, feeds, prepared, answers, rounding)


def _largest_difference(left: Array, right: Array) -> float:
    """Over the finite elements; those that are not are refused elsewhere."""
    both = np.isfinite(left) & np.isfinite(right)
    return float(np.abs(left[both] - right[both]).max(initial=0))


def _answers(module: Autoencoder, tensors: list[torch.Tensor]) -> Arrays:
    return {
        EMBEDDING: module.embed(*tensors).numpy(),
        ERROR: module.reconstruction_error(*tensors).numpy(),
    }
