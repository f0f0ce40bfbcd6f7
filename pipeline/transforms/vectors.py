"""Vectors: fixed-size lists of numbers, each element standardised; images by one common scale."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from pipeline.graph import FLOAT, GraphBuilder
from pipeline.transforms.rank_gauss import limits
from pipeline.transforms.statistics import CLIP, Moments, common_deviation, image_limit

# An element that hardly varies is not blown up beyond a tenth of what its neighbours vary.
SMALLEST_SHARE = 0.1
_HUGE = 1e37


@dataclass(frozen=True)
class Vector:
    """The fitted statistics of one vector column; `scale` is 0 for constant elements.

    Prepared values lie within ±`limit`.
    """

    column: str
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    missing: float
    limit: float = CLIP

    @property
    def length(self) -> int:
        """Elements in each vector."""
        return len(self.mean)


class VectorFit:
    """Accumulates what one `Vector` needs from a stream of blocks."""

    def __init__(self, name: str, length: int, *, image: bool = False) -> None:
        self._name, self._image = name, image
        self._moments = Moments(length)
        self._absent = 0

    def add(self, block: npt.NDArray[np.float32]) -> None:
        """Take in a block of shape [n, length], rows of NaN where null."""
        self._absent += int(np.isnan(block).all(axis=1).sum())
        self._moments.add(block.astype(np.float64))

    def finish(self) -> Vector:
        """The fitted statistics."""
        deviation = self._moments.deviation
        whole = common_deviation(deviation)
        least = whole if self._image else SMALLEST_SHARE * whole
        most = whole if self._image else np.inf
        scale = np.where(deviation > 0, np.clip(deviation, least, most), 0.0)
        share = self._absent / self._moments.rows if self._moments.rows else 0.0
        mean = self._moments.mean
        limit = image_limit(deviation) if self._image else CLIP
        return Vector(self._name, tuple(mean.tolist()), tuple(scale.tolist()), share, limit)


@dataclass(frozen=True)
class Vectors:
    """The fitted vector columns, in schema order."""

    columns: tuple[Vector, ...]

    def forward(self, g: GraphBuilder, vector: Vector, values: str) -> tuple[str, str]:
        """Add the ops from `values` f32 [N, L] to the standardised view f32 [N, L].

        Returns:
            The view, and the missing-indicator f32 [N, 1] (empty text where none was ever null).
        """
        gone = g("IsNaN", values)
        mean, scale = np.array([vector.mean]), np.array([vector.scale])
        gain = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
        finite = g("Clip", values, g.constant(-_HUGE, np.float32), g.constant(_HUGE, np.float32))
        scaled = g(
            "Mul", g("Sub", finite, g.constant(mean, np.float32)), g.constant(gain, np.float32)
        )
        bounded = g("Clip", scaled, *limits(g, vector.limit, np.float32))
        view = g("Where", gone, g.constant(0, np.float32), bounded)
        if not 0 < vector.missing < 1:
            return view, ""
        absent = g("ReduceMin", g("Cast", gone, to=FLOAT), g.constant([1], np.int64), keepdims=1)
        spread = np.sqrt(vector.missing * (1 - vector.missing))
        centred = g("Sub", absent, g.constant(vector.missing, np.float32))
        marked = g("Mul", centred, g.constant(1 / spread, np.float32))
        return view, g("Clip", marked, *limits(g, CLIP, np.float32))

    def inverse(self, g: GraphBuilder, numeric: str, starts: dict[str, int]) -> None:
        """Add outputs by column name, f32 [N, L], from prepared rows `numeric` f32 [N, D]."""
        for vector in self.columns:
            start = starts[vector.column]
            places = g.constant(np.arange(start, start + vector.length), np.int64)
            own = g("Gather", numeric, places, axis=1)
            scaled = g("Mul", own, g.constant([vector.scale], np.float32))
            value = g("Add", scaled, g.constant([vector.mean], np.float32))
            g.output(value, vector.column, FLOAT, ["batch", vector.length])

    def to_json(self) -> list[dict[str, Any]]:
        """The fitted statistics as plain data."""
        return [asdict(column) for column in self.columns]

    @classmethod
    def from_json(cls, data: list[dict[str, Any]]) -> Vectors:
        """The transforms that `to_json` described."""
        return cls(tuple(TypeAdapter(Vector).validate_python(column) for column in data))
