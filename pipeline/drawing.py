"""Rows drawn from a model, column by column: from a reconstruction to typed Arrow columns.

Every drawer is fitted to a pilot of reconstructions, so that its column keeps the shares that
training saw (:mod:`pipeline.calibration`), and then draws from the reconstruction of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline import typed
from pipeline.calibration import Ranks, chances, log_odds, probability, shift, shifts
from pipeline.errors import BundleError
from pipeline.prologue import Prologue
from pipeline.transforms import CLIP
from pipeline.transforms.categories import FIRST, RARE_TEXT, Category
from pipeline.transforms.scalars import Scalar
from pipeline.transforms.vectors import Vector

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_NULL, _RARE = 0, 1
"""Places of null and of rare values among the classes that are drawn: code 0 never is."""


class Drawer(Protocol):
    """Draws the values of one column."""

    def draw(self, numeric: Singles, logits: Singles, random: np.random.Generator) -> pa.Array:
        """One value for every row of a noisy reconstruction."""


@dataclass(frozen=True)
class Chance:
    """Draws whether something holds for a row: that a cell is null, that a boolean is true.

    The reconstruction puts the slot between what stands for no (`low`) and for yes (`high`).
    """

    slot: int
    low: float
    high: float
    moved: float

    @classmethod
    def fit(cls, pilot: Singles, slot: int, *, rate: float) -> Chance:
        """The chance that comes true in `rate` of the rows of `pilot`."""
        spread = float(np.sqrt(rate * (1 - rate)))
        low, high = np.clip([-rate / spread, (1 - rate) / spread], -CLIP, CLIP).tolist()
        odds = log_odds((pilot[:, slot] - low) / (high - low))
        return cls(slot, low, high, shift(odds, rate))

    def draw(self, numeric: Singles, random: np.random.Generator) -> Mask:
        """Whether it holds, for every row."""
        odds = log_odds((numeric[:, self.slot] - self.low) / (self.high - self.low))
        drawn: Mask = random.random(len(numeric)) < probability(odds + self.moved)
        return drawn


@dataclass(frozen=True)
class ScalarDrawer:
    """Numbers and times: the rank of a noisy reconstruction, as the column's own value there."""

    scalar: Scalar
    type_: pa.DataType
    slot: int | None
    ranks: Ranks | None
    null: Chance | None

    def draw(self, numeric: Singles, logits: Singles, random: np.random.Generator) -> pa.Array:
        """One value for every row."""
        ties = random.random(len(numeric))
        if self.slot is not None and self.ranks is not None:
            ties = self.ranks(numeric[:, self.slot].astype(np.float64), ties)
        valid = _valid(self.null, numeric, random)
        make = typed.times if self.scalar.kind == "timestamp" else typed.numbers
        return make(self.scalar.marginal.at(ties), valid, self.type_)


@dataclass(frozen=True)
class BooleanDrawer:
    """Truths."""

    constant: bool
    type_: pa.DataType
    true: Chance | None
    null: Chance | None

    def draw(self, numeric: Singles, logits: Singles, random: np.random.Generator) -> pa.Array:
        """One truth for every row."""
        found = np.full(len(numeric), self.constant)
        if self.true is not None:
            found = self.true.draw(numeric, random)
        return typed.booleans(found, _valid(self.null, numeric, random), self.type_)


@dataclass(frozen=True)
class VectorDrawer:
    """Lists of numbers: the noisy reconstruction itself."""

    vector: Vector
    type_: pa.DataType
    start: int
    null: Chance | None

    def draw(self, numeric: Singles, logits: Singles, random: np.random.Generator) -> pa.Array:
        """One list for every row."""
        own = numeric[:, self.start : self.start + self.vector.length].astype(np.float64)
        values = own * np.array(self.vector.scale) + np.array(self.vector.mean)
        return typed.vectors(values, _valid(self.null, numeric, random), self.type_)


@dataclass(frozen=True)
class CategoryDrawer:
    """Categories: one class by its chance, and for the rare class one of the values behind it.

    Text that training saw too rarely to keep is drawn as ``<rare>``: a name or an address that
    stands once in a table has no place in a drawn one.
    """

    type_: pa.DataType
    classes: slice
    moved: Singles
    values: tuple[Any, ...]
    kept: int
    behind: int

    @classmethod
    def fit(
        cls, pilot: Singles, category: Category, type_: pa.DataType, classes: slice
    ) -> CategoryDrawer:
        """The drawer whose classes have the shares of the training table."""
        own = category.kept[: category.classes - FIRST]
        behind: tuple[Any, ...] = category.kept[category.classes - FIRST :]
        if not behind and category.shares[_RARE]:
            behind = (RARE_TEXT,) if category.text else category.rare
        shares = np.array(category.shares)
        shares[_RARE] *= bool(behind)
        moved = shifts(pilot[:, classes], shares)
        return cls(type_, classes, moved, (*own, *behind), len(own), len(behind))

    def draw(self, numeric: Singles, logits: Singles, random: np.random.Generator) -> pa.Array:
        """One value for every row."""
        odds = chances(logits[:, self.classes], self.moved)
        below = np.cumsum(odds, axis=1, dtype=np.float64)
        at = random.random(len(odds)) * below[:, -1]
        drawn = (below <= at[:, None]).sum(axis=1)
        among = random.integers(0, max(1, self.behind), len(odds))
        places = np.where(drawn == _RARE, self.kept + among, drawn - (_RARE + 1))
        valid = drawn != _NULL
        return typed.categories(np.where(valid, places, 0), valid, self.values, self.type_)


def _valid(null: Chance | None, numeric: Singles, random: np.random.Generator) -> Mask:
    return np.ones(len(numeric), bool) if null is None else ~null.draw(numeric, random)


def drawers(
    prologue: Prologue, types: pa.Schema, numeric: Singles, logits: Singles
) -> dict[str, Drawer]:
    """A drawer for every feature column, fitted to the noisy reconstructions of a pilot.

    Raises:
        BundleError: if the preprocessing was fitted by a version that did not count shares.
    """
    made: dict[str, Drawer] = {}
    slots = {
        (slot.column, slot.view): i for i, slot in reversed([*enumerate(prologue.numeric_slots)])
    }
    rates = {one.column: one.missing for one in prologue.scalars.columns}
    rates |= {one.column: one.missing for one in prologue.vectors.columns}
    nulls = {
        name: Chance.fit(numeric, slot, rate=rates[name])
        for (name, view), slot in slots.items()
        if view == "missing"
    }
    for scalar in prologue.scalars.columns:
        slot, type_ = slots.get((scalar.column, "value")), types.field(scalar.column).type
        null = nulls.get(scalar.column)
        if scalar.kind == "boolean":
            true = None if slot is None else Chance.fit(numeric, slot, rate=scalar.mean)
            made[scalar.column] = BooleanDrawer(scalar.mean > 0.5, type_, true, null)
            continue
        _require(scalar.marginal.values, scalar.column)
        ranks = None if slot is None else Ranks.of(numeric[:, slot].astype(np.float64))
        made[scalar.column] = ScalarDrawer(scalar, type_, slot, ranks, null)
    for vector in prologue.vectors.columns:
        start, type_ = slots[vector.column, "value"], types.field(vector.column).type
        made[vector.column] = VectorDrawer(vector, type_, start, nulls.get(vector.column))
    place = 0
    for category in prologue.categories.columns:
        _require(category.shares, category.column)
        type_, classes = (
            types.field(category.column).type,
            slice(place + 1, place + category.classes),
        )
        made[category.column] = CategoryDrawer.fit(logits, category, type_, classes)
        place += category.classes
    return {column.name: made[column.name] for column in prologue.schema.features}


def _require(counted: Sequence[float], column: str) -> None:
    if not counted:
        raise BundleError(
            f"the bundle must know how the values of column '{column}' are distributed, found "
            "nothing: it was trained by an older version; train it again"
        )
