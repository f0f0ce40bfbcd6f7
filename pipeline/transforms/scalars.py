"""Numbers, booleans and times: standardised, rank-gaussed, marked where missing.

Times are numbers (microseconds) that also show where in the day, the week and the year they are.
All scalar columns of a table are one feature-major block, so that a table of 500 columns takes a
dozen nodes and not thousands.

Only operators whose result does not depend on the batch are used: no Log, no float64 Exp.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from pipeline.feed import NULL_INT
from pipeline.graph import BOOL, DOUBLE, FLOAT, INT64, GraphBuilder
from pipeline.transforms import marginals, rank_gauss
from pipeline.transforms.marginals import Marginal
from pipeline.transforms.rank_gauss import HUGE, NO_CURVE, Curve, limits
from pipeline.transforms.statistics import (
    CLIP,
    Moments,
    RowSample,
    common_deviation,
    image_limit,
)

_DAY = 86_400_000_000
# Length of the cycle and of one step in microseconds; the year is the mean Gregorian one.
CYCLES = {"day": (_DAY, 60_000_000), "week": (7 * _DAY, _DAY), "year": (31_556_952_000_000, _DAY)}

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scalar:
    """The fitted statistics of one number, boolean or time column.

    `missing` is the share of null cells, `deviation` 0 where the column is constant. `knots` and
    `levels` define the rank-gauss view (empty: no such view). `cycles` names the cycles in which
    a time column varies. `marginal` is how numbers and times are distributed.
    """

    column: str
    kind: str
    mean: float
    deviation: float
    median: float
    missing: float
    knots: tuple[float, ...] = ()
    levels: tuple[float, ...] = ()
    cycles: tuple[str, ...] = ()
    marginal: Marginal = field(default_factory=Marginal)
    limit: float = CLIP


class ScalarFit:
    """Accumulates what `Scalars` needs from a stream of blocks."""

    def __init__(self, names: list[str], kinds: list[str]) -> None:
        self._names, self._kinds = names, kinds
        self.moments = Moments(len(names))
        self._sample = RowSample(len(names))

    def add(self, block: Floats) -> None:
        """Take in a block of shape [n, F], NaN where null."""
        self.moments.add(block)
        self._sample.add(block)

    def finish(self) -> Scalars:
        """The fitted transforms."""
        return Scalars(tuple(self._scalar(i) for i in range(len(self._names))))

    def _scalar(self, i: int) -> Scalar:
        moments, values, kind = self.moments, self._sample.column(i), self._kinds[i]
        deviation = float(moments.deviation[i])
        present = moments.count[i] + moments.infinite[i]
        curve = rank_gauss.fit(values) if kind == "number" and deviation else NO_CURVE
        return Scalar(
            column=self._names[i],
            kind=kind,
            mean=float(moments.mean[i]),
            deviation=deviation,
            median=float(np.median(values)) if len(values) else float(moments.mean[i]),
            missing=float(1 - present / moments.rows) if moments.rows else 0.0,
            knots=curve.knots,
            levels=curve.levels,
            cycles=_varying_cycles(values) if kind == "timestamp" else (),
            marginal=Marginal() if kind == "boolean" else marginals.fit(values, kind=kind),
        )


def _varying_cycles(values: Floats) -> tuple[str, ...]:
    # The last microsecond of int64 is none as a float.
    micros = np.clip(values, -(2.0**62), 2.0**62).astype(np.int64)
    steps = {name: (micros % length) // step for name, (length, step) in CYCLES.items()}
    return tuple(name for name, at in steps.items() if len(at) and at.min() != at.max())


@dataclass(frozen=True)
class Scalars:
    """The fitted scalar columns, numbers and booleans first, times last."""

    columns: tuple[Scalar, ...]

    @property
    def varying(self) -> list[int]:
        """Columns that have a standardised value: those that are not constant."""
        return [i for i, c in enumerate(self.columns) if c.deviation]

    @property
    def nullable(self) -> list[int]:
        """Columns that have a missing-indicator: those with some null cells when fitted."""
        return [i for i, c in enumerate(self.columns) if 0 < c.missing < 1]

    @property
    def ranked(self) -> list[int]:
        """Columns that have a rank-gauss view."""
        return [i for i, c in enumerate(self.columns) if c.knots]

    @property
    def times(self) -> list[int]:
        """Columns that are times."""
        return [i for i, c in enumerate(self.columns) if c.kind == "timestamp"]

    def views(self) -> list[tuple[Scalar, str]]:
        """The rows that `forward` gives, each as (column, view)."""
        values = [(self.columns[i], "value") for i in self.varying]
        waves = [
            (self.columns[i], f"{wave}:{cycle}")
            for cycle in CYCLES
            for wave in ("sin", "cos")
            for i in self._in_cycle(cycle)
        ]
        return values + waves + [(self.columns[i], "missing") for i in self.nullable]

    def _in_cycle(self, cycle: str) -> list[int]:
        return [i for i in self.times if cycle in self.columns[i].cycles]

    def forward(self, g: GraphBuilder, numbers: str | None, times: str | None) -> tuple[str, str]:
        """Add the ops from blocks ``numbers`` f64 [F, N] and ``times`` i64 [T, N].

        Returns:
            The names of the views ``[len(views), N]`` and of the rank-gauss view
            ``[len(ranked), N]`` (empty text where there is none), both float32.
        """
        parts = [numbers] if numbers else []
        if times:
            absent = g("Equal", times, g.constant(NULL_INT, np.int64))
            as_double = g("Cast", times, to=DOUBLE)
            parts.append(g("Where", absent, g.constant(np.nan, np.float64), as_double))
        block = g.concat(parts, axis=0)
        missing = g("IsNaN", block)
        filled = g("Where", missing, self._constant(g, "median"), block)
        rows = [self._standardise(g, filled)] if self.varying else []
        if times:
            rows += self._waves(g, times, absent)
        if self.nullable:
            rows.append(self._indicate(g, missing))
        views = g.concat(rows, axis=0) if rows else ""
        return views, self._rank(g, filled) if self.ranked else ""

    def _constant(self, g: GraphBuilder, field: str, picked: list[int] | None = None) -> str:
        chosen = range(len(self.columns)) if picked is None else picked
        return g.constant([[getattr(self.columns[i], field)] for i in chosen], np.float64)

    def _standardise(self, g: GraphBuilder, filled: str) -> str:
        picked = g.rows(filled, self.varying, len(self.columns))
        # Infinities become huge numbers first: infinity minus infinity would be NaN.
        finite = g("Clip", picked, *limits(g, HUGE, np.float64))
        centred = g("Sub", finite, self._constant(g, "mean", self.varying))
        scaled = g("Div", centred, self._constant(g, "deviation", self.varying))
        if all(self.columns[i].limit == CLIP for i in self.varying):
            return g("Cast", g("Clip", scaled, *limits(g, CLIP, np.float64)), to=FLOAT)
        most = np.array([[self.columns[i].limit] for i in self.varying])
        above = g("Max", scaled, g.constant(-most, np.float64))
        return g("Cast", g("Min", above, g.constant(most, np.float64)), to=FLOAT)

    def _waves(self, g: GraphBuilder, times: str, absent: str) -> list[str]:
        present = g("Where", absent, g.constant(0, np.int64), times)
        rows, first = [], self.times[0]
        for cycle, (length, step) in CYCLES.items():
            inside = [i - first for i in self._in_cycle(cycle)]
            if not inside:
                continue
            within = g(
                "Mod", g.rows(present, inside, len(self.times)), g.constant(length, np.int64)
            )
            at = g("Div", within, g.constant(step, np.int64))
            angles = 2 * np.pi * np.arange(length // step + 1) / (length / step)
            for wave in (np.sin, np.cos):
                table = g.constant((np.sqrt(2) * wave(angles)).astype(np.float32))
                value = g("Gather", table, at)
                gone = g.rows(absent, inside, len(self.times))
                rows.append(g("Where", gone, g.constant(0, np.float32), value))
        return rows

    def _indicate(self, g: GraphBuilder, missing: str) -> str:
        share = np.array([[self.columns[i].missing] for i in self.nullable])
        spread = np.sqrt(share * (1 - share))
        present = g.constant(np.clip(-share / spread, -CLIP, CLIP), np.float32)
        absent = g.constant(np.clip((1 - share) / spread, -CLIP, CLIP), np.float32)
        return g("Where", g.rows(missing, self.nullable, len(self.columns)), absent, present)

    def _rank(self, g: GraphBuilder, filled: str) -> str:
        curves = [Curve(self.columns[i].knots, self.columns[i].levels) for i in self.ranked]
        return rank_gauss.forward(g, curves, g.rows(filled, self.ranked, len(self.columns)))

    def inverse(self, g: GraphBuilder, numeric: str, slots: dict[str, int]) -> None:
        """Add outputs by column name from prepared rows `numeric` f32 [N, D].

        `slots` gives the place of each varying column's value. Numbers come out as float64,
        booleans as bool, times as int64 microseconds.
        """
        for column in self.columns:
            if column.deviation:
                place = g.constant(slots[column.column], np.int64)
                z = g("Cast", g("Gather", numeric, place, axis=1), to=DOUBLE)
                scaled = g("Mul", z, g.constant(column.deviation, np.float64))
            else:
                zero = g("Gather", numeric, g.constant(0, np.int64), axis=1)
                scaled = g("Mul", g("Cast", zero, to=DOUBLE), g.constant(0.0, np.float64))
            value = g("Add", scaled, g.constant(column.mean, np.float64))
            if column.kind == "boolean":
                truth = g("Greater", value, g.constant(0.5, np.float64))
                g.output(truth, column.column, BOOL, ["batch"])
            elif column.kind == "timestamp":
                # The largest double below 2^63: a cast beyond it is undefined.
                limit = g.constant(9.2e18, np.float64)
                within = g("Min", g("Max", value, g.constant(-9.2e18, np.float64)), limit)
                g.output(g("Cast", within, to=INT64), column.column, INT64, ["batch"])
            else:
                g.output(value, column.column, DOUBLE, ["batch"])

    def with_image(self, names: Collection[str]) -> Scalars:
        """The same, the columns `names` being elements of one image: one scale, no other view."""
        own = {column.column: column for column in self.columns if column.column in names}
        deviation = np.array([column.deviation for column in own.values()])
        whole, limit = common_deviation(deviation), image_limit(deviation)
        made = {
            name: replace(column, deviation=whole, limit=limit, knots=(), levels=())
            for name, column in own.items()
            if column.deviation
        }
        return Scalars(tuple(made.get(column.column, column) for column in self.columns))

    def to_json(self) -> list[dict[str, Any]]:
        """The fitted statistics as plain data."""
        return [asdict(column) for column in self.columns]

    @classmethod
    def from_json(cls, data: list[dict[str, Any]]) -> Scalars:
        """The transforms that `to_json` described."""
        return cls(tuple(TypeAdapter(Scalar).validate_python(column) for column in data))
