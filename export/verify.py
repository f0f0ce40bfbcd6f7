"""The gate: the files that are about to be shipped, tried against the module they came from.

The very bytes are run, on held-out rows and on rows made to break them. What passes is recorded
in the manifest; what fails is a `ParityError` saying which check, by how much, on which rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import onnx
import onnxruntime

from export.alive import check_latents
from export.candidate import EMBEDDING, ERROR, Candidate
from export.models import CORE, DECODER, ENCODER, LOOKUP, SCORER, check_model
from export.parity import TOLERANCE, agree, finite, same
from export.runtime import Arrays, Runtime, count, evaluate, take
from export.steady import check_steady
from export.trace import output_name
from pipeline.errors import ParityError

if TYPE_CHECKING:
    from training.checkpoint import Checkpoint

REFERENCE_ROWS = 24


def verify(files: Mapping[str, bytes], checkpoint: Checkpoint) -> dict[str, Any]:
    """The figures of a bundle's ONNX `files` that pass every check of the gate.

    Raises:
        ParityError: with the first check that fails, by how much, and on which rows.
    """
    candidate = Candidate(files, checkpoint)
    figures: dict[str, Any] = {
        "onnxruntime": onnxruntime.__version__,
        "tolerance": {"absolute": TOLERANCE, "relative_to_largest": TOLERANCE},
        "rows": {rows.name: count(rows.feeds) for rows in candidate.rows},
    }
    return figures | {name: check(candidate) for name, check in CHECKS.items()}


def check_files(candidate: Candidate) -> bool:
    """Every file passes onnx.checker and holds standard operators only."""
    for file, content in candidate.files.items():
        check_model(onnx.ModelProto.FromString(content), file=file)
    return True


def check_torch(candidate: Candidate) -> dict[str, dict[str, float]]:
    """Largest difference between torch and ONNX Runtime, by file and origin of the rows."""
    figures: dict[str, dict[str, float]] = {}
    for file, outputs in ((ENCODER, [EMBEDDING]), (SCORER, [EMBEDDING, ERROR])):
        runtime = Runtime(candidate.files[file])
        for rows in candidate.rows:
            found = runtime(rows.feeds)
            check = f"{file} against torch, {rows.name} rows"
            for name in outputs:
                finite(check, found[name], rows=rows.feeds)
            figures.setdefault(file, {})[rows.name] = max(
                agree(check, rows.answers[name], found[name], rows=rows.feeds) for name in outputs
            )
    return figures | {DECODER: _decoder_against_torch(candidate)}


def _decoder_against_torch(candidate: Candidate) -> dict[str, float]:
    shown, shipped = Runtime(candidate.instrumented_decoder), Runtime(candidate.files[DECODER])
    inverse_model = candidate.prologue.inverse_model()
    inverse, figures = Runtime(inverse_model), dict[str, float]()
    for origin, codes in candidate.latents.items():
        check, found = f"{DECODER} against torch, {origin} codes", shown(codes)
        for values in found.values():
            if values.dtype.kind == "f":
                finite(check, values, rows=codes)
        expected = candidate.decoded(codes)
        figures[origin] = max(agree(check, expected[n], found[n], rows=codes) for n in expected)
        # From there on there is nothing to round: the same numbers must become the same columns.
        columns = inverse(_inverse_inputs(inverse_model, found))
        same(f"{DECODER} against the prologue's inverse, {origin} codes", columns, found)
        same(f"{DECODER} without its inner outputs, {origin} codes", shipped(codes), found)
    return figures


def check_reference(candidate: Candidate) -> dict[str, float]:
    """Largest difference between ONNX's reference evaluator and ONNX Runtime, by file."""
    figures: dict[str, float] = {}
    for file in (ENCODER, SCORER):
        content = candidate.files[file]
        for rows in candidate.rows:
            feeds = take(rows.feeds, slice(REFERENCE_ROWS))
            expected = Runtime(content)(feeds)
            found = evaluate(onnx.ModelProto.FromString(content), feeds)
            check = f"{file} against onnx.reference, {rows.name} rows"
            worst = [agree(check, expected[n], found[n], rows=feeds) for n in expected]
            figures[file] = max(figures.get(file, 0.0), *worst)
    return figures | {DECODER: _decoder_against_reference(candidate)}


def _decoder_against_reference(candidate: Candidate) -> float:
    told = take(candidate.latents["prior"], slice(REFERENCE_ROWS))
    check = f"{DECODER} against onnx.reference"
    expected = Runtime(candidate.instrumented_decoder)(told)
    found = evaluate(candidate.instrumented_decoder, told)
    inner = [output_name(name) for name in candidate.shape.decoded]
    worst = max(agree(check, expected[name], found[name], rows=told) for name in inner)
    # Classes may tie within rounding, so columns are compared from the same reconstruction.
    inverse = candidate.prologue.inverse_model()
    columns = evaluate(inverse, _inverse_inputs(inverse, expected))
    for name, values in columns.items():
        if values.dtype.kind in "fi":
            agree(f"{check}, column '{name}'", expected[name], values, rows=told)
        elif [str(one) for one in values] != [str(one) for one in expected[name]]:
            raise ParityError(f"check '{check}' failed: column '{name}' comes out differently")
    return worst


def check_lookup(candidate: Candidate) -> bool:
    """``lookup.onnx`` + ``core.onnx`` give the bits of ``encoder.onnx``."""
    whole, core = Runtime(candidate.files[ENCODER]), Runtime(candidate.files[CORE])
    for rows in candidate.rows:
        check = f"{LOOKUP} and {CORE} against {ENCODER}, {rows.name} rows"
        same(check, whole(rows.feeds), core(candidate.blocks(rows.feeds)))
    return True


def _inverse_inputs(inverse: onnx.ModelProto, found: Arrays) -> Arrays:
    """The reconstruction in `found` under the names that the prologue's inverse takes."""
    names = [one.name for one in inverse.graph.input]
    return {name: found[output_name(name.rpartition("/")[2])] for name in names}


CHECKS: dict[str, Callable[[Candidate], Any]] = {
    "checker": check_files,
    "torch": check_torch,
    "reference": check_reference,
    "lookup_and_core_identical": check_lookup,
    "steady": check_steady,
    "latents": check_latents,
}
