"""How prepared arrays map to table columns: what belongs together, and how much it weighs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.images import ImageShape
from pipeline.prologue import Prologue, Slot
from pipeline.schema import FeatureSchema

MISSING_WEIGHT = 0.5
"""Weight of a column's missing indicator beside the column's own weight of 1."""


@dataclass(frozen=True)
class Image:
    """An image among the numeric slots, its elements in the order [channels, height, width].

    `slots` gives the numeric slot of each element, -1 where it is constant; `base` the element's
    mean less that of the whole image, in the image's deviations: what standardising took away.
    """

    name: str
    channels: int
    height: int
    width: int
    slots: tuple[int, ...]
    base: tuple[float, ...]


@dataclass(frozen=True)
class Layout:
    """The slots of the prepared arrays, as the network and its losses see them.

    A *unit* is what corruption hits as a whole: a column with all its views, or one element of a
    vector. `numeric_missing` and `ranked_missing` give, for each slot, the numeric slot that says
    whether the cell was null, or -1. `reranked` marks values that `ranked` shows once more,
    `waves` the places of times in day, week and year.
    `cardinalities` are the codes of each category column, `classes` those of its reconstruction.
    `images` are those whose shape the table's contract tells.
    `numeric_columns` numbers the columns of the numeric slots, all pixels of an image being one;
    the `given` slots belong to columns with the role condition, and `label_numbers` are the classes
    of a label that is one, as `Matrix.labels` holds them.
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
    images: tuple[Image, ...] = ()
    numeric_columns: tuple[int, ...] = ()
    given_numeric: tuple[bool, ...] = ()
    given_ranked: tuple[bool, ...] = ()
    given_codes: tuple[bool, ...] = ()
    label_numbers: tuple[float, ...] = ()

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
        given = {column.name for column in prologue.schema.with_role("condition")}
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
            numeric_weights=_weights(numeric, (*numeric, *ranked), prologue.schema),
            ranked_weights=_weights(ranked, (*numeric, *ranked), prologue.schema),
            reranked=tuple(
                slot.view == "value" and slot.column in ranked_columns for slot in numeric
            ),
            waves=tuple(slot.view.startswith(("sin:", "cos:")) for slot in numeric),
            cardinalities=tuple(prologue.cardinalities),
            classes=tuple(prologue.classes),
            images=_images(prologue),
            numeric_columns=_columns(numeric, prologue.schema),
            given_numeric=tuple(slot.column in given for slot in numeric),
            given_ranked=tuple(slot.column in given for slot in ranked),
            given_codes=tuple(name in given for name in prologue.code_columns),
            label_numbers=() if prologue.label is None else prologue.label.numbers,
        )


def _unit(slot: Slot, lengths: dict[str, int | None]) -> tuple[str, int]:
    if lengths.get(slot.column) is None:
        return slot.column, 0
    return slot.column, -1 if slot.view == "missing" else slot.element


def _columns(slots: tuple[Slot, ...], schema: FeatureSchema) -> tuple[int, ...]:
    whole = {name: image.name for image in schema.images for name in image.columns}
    names = [whole.get(slot.column, slot.column) for slot in slots]
    order = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return tuple(order[name] for name in names)


def _weights(
    slots: tuple[Slot, ...], every: tuple[Slot, ...], schema: FeatureSchema
) -> tuple[float, ...]:
    """Each column weighs 1, shared by its slots; a vector of n elements weighs sqrt(n).

    The square root stands between one column (a photograph counts as much as a flag) and n
    columns (it drowns all others): neighbouring elements tell much of each other. Columns that
    are the pixels of one image are one vector.
    """
    whole = {column.name: column.name for column in schema.features}
    lengths = {column.name: column.length or 1 for column in schema.features}
    for image in schema.images:
        whole |= dict.fromkeys(image.columns, image.name)
        lengths[image.name] = len(image.columns)
    shares: dict[str, int] = {}
    for slot in every:
        if slot.view != "missing":
            shares[whole[slot.column]] = shares.get(whole[slot.column], 0) + 1
    return tuple(
        MISSING_WEIGHT * _of_pixels(whole[slot.column], slot.column, lengths)
        if slot.view == "missing"
        else math.sqrt(lengths[whole[slot.column]]) / shares[whole[slot.column]]
        for slot in slots
    )


def _of_pixels(whole: str, column: str, lengths: Mapping[str, int]) -> float:
    """Weight of a column's missing indicator beside that of a column of its own."""
    return 1.0 if whole == column else 1 / math.sqrt(lengths[whole])


def _images(prologue: Prologue) -> tuple[Image, ...]:
    schema = prologue.schema
    places = {
        (slot.column, slot.element): place
        for place, slot in enumerate(prologue.numeric_slots)
        if slot.view == "value"
    }
    scalars = {column.column: column for column in prologue.scalars.columns}
    found = []
    for vector in prologue.vectors.columns:
        if shape := schema[vector.column].shape:
            slots = [
                places[vector.column, i] if scale else -1 for i, scale in enumerate(vector.scale)
            ]
            unit = max(vector.scale), vector.limit
            found.append(_image(vector.column, shape, slots, vector.mean, unit))
    for image in schema.images:
        own = [scalars[name] for name in image.columns]
        slots = [places.get((name, 0), -1) for name in image.columns]
        unit = max(column.deviation for column in own), max(column.limit for column in own)
        found.append(_image(image.name, image.shape, slots, [one.mean for one in own], unit))
    return tuple(found)


def _image(
    name: str,
    shape: ImageShape,
    slots: Sequence[int],
    means: Sequence[float],
    unit: tuple[float, float],
) -> Image:
    """The image whose elements have `means`; its `unit` is one deviation and how many there are."""
    (scale, limit), order, mean = unit, shape.order(), np.asarray(means)
    base = np.clip((mean - mean.mean()) / (scale or 1.0), -limit, limit)
    return Image(
        name=name,
        channels=shape.channels,
        height=shape.height,
        width=shape.width,
        slots=tuple(slots[place] for place in order),
        base=tuple(float(base[place]) for place in order),
    )
