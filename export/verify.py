"""The gate: the files that are about to be shipped, tried against the module they came from.

The very bytes are run, on held-out rows and on rows made to break them. What passes is recorded
in the manifest; what fails is a `ParityError` saying which check, by how much, on which rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import onnx
import onnxruntime

from export.alive import check_latents
from export.candidate import EMBEDDING, ERROR, INVERSE, SHOWN_DECODER, Candidate
from export.models import CORE, DECODER, ENCODER, LOOKUP, SCORER, check_model
from export.parity import TOLERANCE, agree, finite, same
from export.runtime import count, evaluate, take
from export.steady import check_steady
from export.trace import output_name
from pipeline.audit import audit
from pipeline.errors import BundleError, ParityError
from pipeline.signatures import signature

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
    """Every file passes onnx.checker, and the audit of whoever opens the bundle."""
    checkpoint = candidate.checkpoint
    for file, content in candidate.files.items():
        check_model(onnx.ModelProto.FromString(content), file=file)
        required = signature(file, checkpoint.schema, dim=checkpoint.spec.dim)
        try:
            audit(content, required, where=file)
        except BundleError as error:
            raise ParityError(f"check 'audit' failed: {error}") from error
    return True


def check_torch(candidate: Candidate) -> dict[str, dict[str, float]]:
    """Largest difference between torch and ONNX Runtime, by file and origin of the rows."""
    figures: dict[str, dict[str, float]] = {}
    for file, outputs in ((ENCODER, [EMBEDDING]), (SCORER, [EMBEDDING, ERROR])):
        for rows in candidate.rows:
            found = candidate.run(file, rows.feeds)
            check = f"{file} against torch, {rows.name} rows"
            for name in outputs:
                finite(check, found[name], rows=rows.feeds)
            # The error squares and sums what the decoder makes of a rounded embedding; the
            # embedding itself has to keep the plain tolerance (docs/adr/0009).
            slack = {ERROR: rows.rounding[ERROR]}
            figures.setdefault(file, {})[rows.name] = max(
                agree(
                    check,
                    rows.answers[name],
                    found[name],
                    rows=rows.feeds,
                    rounding=slack.get(name, 0.0),
                )
                for name in outputs
            )
    return figures | {DECODER: _decoder_against_torch(candidate)}


def _decoder_against_torch(candidate: Candidate) -> dict[str, float]:
    figures: dict[str, float] = {}
    for origin, codes in candidate.latents.items():
        check, found = (
            f"{DECODER} against torch, {origin} codes",
            candidate.run(SHOWN_DECODER, codes),
        )
        for values in found.values():
            if values.dtype.kind == "f":
                finite(check, values, rows=codes)
        expected = candidate.decoded(codes)
        figures[origin] = max(agree(check, expected[n], found[n], rows=codes) for n in expected)
        # From there on there is nothing to round: the same numbers must become the same columns.
        columns, shipped = candidate.columns(found), candidate.run(DECODER, codes)
        same(f"{DECODER} against the prologue's inverse, {origin} codes", columns, found)
        same(f"{DECODER} without its inner outputs, {origin} codes", shipped, found)
    return figures


def check_reference(candidate: Candidate) -> dict[str, float]:
    """Largest difference between ONNX's reference evaluator and ONNX Runtime, by file."""
    figures: dict[str, float] = {}
    for file in (ENCODER, SCORER):
        for rows in candidate.rows:
            feeds = take(rows.feeds, slice(REFERENCE_ROWS))
            expected, found = candidate.run(file, feeds), evaluate(candidate.models[file], feeds)
            check = f"{file} against onnx.reference, {rows.name} rows"
            slack = {ERROR: rows.rounding[ERROR]}
            worst = [
                agree(check, expected[n], found[n], rows=feeds, rounding=slack.get(n, 0.0))
                for n in expected
            ]
            figures[file] = max(figures.get(file, 0.0), *worst)
    return figures | {DECODER: _decoder_against_reference(candidate)}


def _texts(values: Iterable[object]) -> list[str]:
    # The reference holds text in arrays of a fixed width, which forget a NUL at the end.
    return [str(one).rstrip("\0") for one in values]


def _decoder_against_reference(candidate: Candidate) -> float:
    codes = take(candidate.latents["prior"], slice(REFERENCE_ROWS))
    check = f"{DECODER} against onnx.reference"
    expected = candidate.run(SHOWN_DECODER, codes)
    found = evaluate(candidate.models[SHOWN_DECODER], codes)
    inner = [output_name(name) for name in candidate.decoded_matrices]
    worst = max(agree(check, expected[name], found[name], rows=codes) for name in inner)
    # Classes may tie within rounding, so columns are compared from the same reconstruction.
    columns = evaluate(candidate.models[INVERSE], candidate.inverse_inputs(expected))
    for name, values in columns.items():
        if values.dtype.kind in "fi":
            agree(f"{check}, column '{name}'", expected[name], values, rows=codes)
        elif _texts(values) != _texts(expected[name]):
            raise ParityError(f"check '{check}' failed: column '{name}' comes out differently")
    return worst


def check_lookup(candidate: Candidate) -> bool:
    """``lookup.onnx`` + ``core.onnx`` give the bits of ``encoder.onnx``."""
    for rows in candidate.rows:
        check = f"{LOOKUP} and {CORE} against {ENCODER}, {rows.name} rows"
        same(check, candidate.run(ENCODER, rows.feeds), candidate.run(CORE, rows.feeds))
    return True


CHECKS: dict[str, Callable[[Candidate], Any]] = {
    "checker": check_files,
    "torch": check_torch,
    "reference": check_reference,
    "lookup_and_core_identical": check_lookup,
    "steady": check_steady,
    "latents": check_latents,
}
