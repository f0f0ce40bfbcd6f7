"""What a decoder does not know of a row: how far values lie from where it puts them, together."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, ValidationError

from pipeline.bundle import Bundle
from pipeline.config import Config
from pipeline.errors import BundleError
from pipeline.prologue import Prologue

GENERATION = "generation.json"
FACTORS = 64
"""Common factors that residuals are described by; what is left of each value is its own."""
MOST_SLOTS = 600
"""With more values in a row, the residuals of each are taken as independent of all others."""

_LARGEST = 2**28

Floats = npt.NDArray[np.float64]


class Generation(Config):
    """What a bundle keeps for drawing rows, beside decoder and prior.

    Residuals (of `noisy_slots`, in prepared space, on rows held out from training) are described as
    ``factor @ n + deviation * m`` with n, m ~ N(0, I). `arrow_schema` holds the types of the
    training table's feature columns, as base64 of Arrow's own message.
    """

    arrow_schema: str
    factor: tuple[tuple[Annotated[float, Field(allow_inf_nan=False)], ...], ...]
    deviation: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...]

    @property
    def types(self) -> pa.Schema:
        """The Arrow types of the feature columns."""
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(self.arrow_schema)))

    def to_bytes(self) -> bytes:
        """The bytes of the sealed file."""
        return self.model_dump_json(indent=1).encode() + b"\n"


def noisy_slots(prologue: Prologue) -> list[int]:
    """The slots of `numeric` whose values are drawn: numbers, times, and elements of vectors.

    Elements of an image are not: a picture is shown as the decoder means it.
    """
    kinds = {column.name: column.kind for column in prologue.schema.features}
    drawn = ("number", "timestamp", "vector")
    return [
        place
        for place, slot in enumerate(prologue.numeric_slots)
        if slot.view == "value" and kinds.get(slot.column) in drawn
    ]


def measure(residuals: Floats, types: pa.Schema) -> Generation:
    """The description of `residuals` [rows, slots], NaN where a cell was null."""
    rows, slots = residuals.shape
    present = np.isfinite(residuals)
    counts = np.maximum(present.sum(axis=0), 1)
    filled = np.where(present, residuals, 0.0)
    variance = (filled**2).sum(axis=0) / counts
    factor = np.zeros((slots, 0))
    if 0 < slots <= MOST_SLOTS:
        scaled = filled * np.sqrt(rows / counts)
        values, vectors = np.linalg.eigh(scaled.T @ scaled / max(rows, 1))
        first = np.argsort(values)[::-1][:FACTORS]
        factor = vectors[:, first] * np.sqrt(np.maximum(values[first], 0))
    own = np.sqrt(np.maximum(variance - (factor**2).sum(axis=1), 0))
    return Generation(
        arrow_schema=base64.b64encode(types.remove_metadata().serialize().to_pybytes()).decode(),
        factor=tuple(tuple(map(_short, row)) for row in factor.tolist()),
        deviation=tuple(map(_short, own.tolist())),
    )


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def open_generation(bundle: Bundle, prologue: Prologue) -> Generation:
    """What `bundle` keeps for drawing rows.

    Raises:
        BundleError: if it keeps nothing, or not what its columns need.
    """
    if not bundle.has(GENERATION):
        raise BundleError(
            f"{bundle.path} must hold {GENERATION} to generate rows, found none: it was trained by "
            "an older version; train it again"
        )
    if bundle.manifest.files[GENERATION].bytes > _LARGEST:
        raise _refused(bundle, f"more than {_LARGEST} bytes")
    try:
        found = Generation.model_validate(json.loads(bundle.read(GENERATION)))
        types = found.types
    except (ValidationError, ValueError, RecursionError, binascii.Error, pa.ArrowException):
        raise _refused(bundle, "something else") from None
    slots = len(noisy_slots(prologue))
    even = len({len(row) for row in found.factor}) <= 1
    if len(found.factor) != slots or len(found.deviation) != slots or not even:
        raise _refused(bundle, f"residuals of {len(found.deviation)} values instead of {slots}")
    names = [column.name for column in prologue.schema.features]
    if missing := [name for name in names if name not in types.names]:
        raise _refused(bundle, f"no type of column '{missing[0]}'")
    return found


def _refused(bundle: Bundle, found: str) -> BundleError:
    return BundleError(
        f"{bundle.path}/{GENERATION} must describe how rows are drawn, found {found}; "
        "do not use this bundle, and ask where it comes from"
    )
