"""How prepared arrays map to table columns: what belongs together, and how much it weighs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.prologue import Prologue, Slot

MISSING_WEIGHT = 0.5
"""Weight of a column's missing indicator beside the column's own weight of 1."""


@dataclass(frozen=True)
class Layout:
    """The slots of the prepared arrays, as the network and its losses see them.

    A *unit* is what corruption hits as a whole: a column with all its views, or one element of a
    vector. `numeric_missing` and `ranked_missing` give, for each slot, the numeric slot that says
    whether the cell was null, or -1. `reranked` marks values that `ranked` shows once more,
    `waves` the places of times in day, week and year.
    `cardinalities` are the codes of each category column, `classes` those of its reconstruction.
    """

    numeric_units: tuple[int, ...]
    ranked_units: tuple[int, ...]
    code_units: tuple[int, ...]
    units: int
    binary: tuple[bool, ...]
    numeric_missing: tuple[int, ...]
    ranked_missing: tuple[int, ...]
    numeric_weights: tuple[float, ...]
    ranked_weights: tuple[float, ...]
    reranked: tuple[bool, ...]
    waves: tuple[bool, ...]
    cardinalities: tuple[int, ...]
    classes: tuple[int, ...]

    @property
    def offsets(self) -> tuple[int, ...]:
        """First row of each category column in the one embedding table."""
        return tuple(sum(self.cardinalities[:index]) for index in range(len(self.cardinalities)))

    @property
    def width(self) -> int:
        """Flattened prepared width (DESIGN §10): value slots and one-hot categories.

        Missing indicators, the second view of numbers and the reserved codes do not count.
        """
        indicators = {slot for slot in self.numeric_missing + self.ranked_missing if slot >= 0}
        categories = sum(max(1, cardinality - 3) for cardinality in self.cardinalities)
        return len(self.numeric_units) - len(indicators) + categories

    @staticmethod
    def of(prologue: Prologue) -> Layout:
        """The layout of what `prologue` prepares."""
        numeric, ranked = prologue.numeric_slots, prologue.ranked_slots
        lengths = {column.name: column.length for column in prologue.schema.features}
        units: dict[tuple[str, int], int] = {}
        for slot in (*numeric, *ranked):
            units.setdefault(_unit(slot, lengths), len(units))
        for name in prologue.code_columns:
            units.setdefault((name, 0), len(units))
        missing = {slot.column: i for i, slot in enumerate(numeric) if slot.view == "missing"}
        ranked_columns = {slot.column for slot in ranked}
        return Layout(
            numeric_units=tuple(units[_unit(slot, lengths)] for slot in numeric),
            ranked_units=tuple(units[_unit(slot, lengths)] for slot in ranked),
            code_units=tuple(units[name, 0] for name in prologue.code_columns),
            units=len(units),
            binary=tuple(
                slot.view == "missing" or (slot.kind == "boolean" and slot.view == "value")
                for slot in numeric
            ),
            numeric_missing=tuple(
                -1 if slot.view == "missing" else missing.get(slot.column, -1) for slot in numeric
            ),
            ranked_missing=tuple(missing.get(slot.column, -1) for slot in ranked),
            numeric_weights=_weights(numeric, (*numeric, *ranked), lengths),
            ranked_weights=_weights(ranked, (*numeric, *ranked), lengths),
            reranked=tuple(
                slot.view == "value" and slot.column in ranked_columns for slot in numeric
            ),
            waves=tuple(slot.view.startswith(("sin:", "cos:")) for slot in numeric),
            cardinalities=tuple(prologue.cardinalities),
            classes=tuple(prologue.classes),
        )


def _unit(slot: Slot, lengths: dict[str, int | None]) -> tuple[str, int]:
    if lengths.get(slot.column) is None:
        return slot.column, 0
    return slot.column, -1 if slot.view == "missing" else slot.element


def _weights(
    slots: tuple[Slot, ...], every: tuple[Slot, ...], lengths: dict[str, int | None]
) -> tuple[float, ...]:
    """Each column weighs 1, shared by its slots; a vector of n elements weighs sqrt(n).

    The square root stands between one column (a photograph counts as much as a flag) and n
    columns (it drowns all others): neighbouring elements tell much of each other.
    """
    shares: dict[str, int] = {}
    for slot in every:
        if slot.view != "missing":
            shares[slot.column] = shares.get(slot.column, 0) + 1
    return tuple(
        MISSING_WEIGHT
        if slot.view == "missing"
        else math.sqrt(lengths.get(slot.column) or 1) / shares[slot.column]
        for slot in slots
    )
