"""What a conditional model is told of the rows to draw: asked for, or drawn as training saw it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from pipeline import typed
from pipeline.errors import BundleError, ConfigError
from pipeline.feed import NULL_TEXT, to_input
from pipeline.graph import INT64, STRING, GraphBuilder
from pipeline.prologue import CODED, Prologue
from pipeline.runtime import Session
from pipeline.schema import Column, did_you_mean
from pipeline.transforms.categories import Categories, Category
from pipeline.transforms.classes import NOT_KNOWN, Classes
from pipeline.transforms.scalars import Scalar

_SHOWN = 5
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


class Conditions:
    """The condition columns of the rows to draw.

    Those in `where` have one value; other condition columns are drawn, each by itself, as training
    saw them. A label that is not asked for is drawn by its `shares`, by code, and no column of the
    rows; without these it is not known.
    """

    def __init__(
        self,
        prologue: Prologue,
        types: pa.Schema,
        *,
        names: Sequence[str],
        where: Sequence[str],
        model: str,
        shares: Mapping[int, float] | None = None,
    ) -> None:
        """Read `where`, conditions such as ``country=IT`` on columns among `names`.

        Raises:
            ConfigError: if the model takes no such condition, or never saw such a value.
            BundleError: if a condition of the model cannot be said.
        """
        asked = dict(condition.split("=", 1) for condition in where)
        _require_conditional(asked, names, model)
        scalars: dict[str, Scalar | Category] = {c.column: c for c in prologue.scalars.columns}
        categories = {c.column: c for c in prologue.categories.columns}
        self._columns = [c for c in prologue.schema.features if c.name in names]
        fitted = {**scalars, **categories}
        if lists := [column.name for column in self._columns if column.name not in fitted]:
            raise BundleError(
                f"rows can be drawn under conditions of one value each, found the vector "
                f"'{lists[0]}' among those of {model}; train with other conditions"
            )
        self._fitted = {column.name: fitted[column.name] for column in self._columns}
        self._types = types
        self._given = {
            c.name: _one(self._fitted[c.name], asked[c.name], types.field(c.name).type)
            for c in self._columns
            if c.name in asked
        }
        own = {column.name for column in self._columns}
        self._label: Column | None = None
        if prologue.label is not None and any(name not in own for name in names):
            self._label = prologue.schema[prologue.label.column]
            self._label_type = _type_of(self._label, prologue.label)
            if self._label.name in asked:
                told = _label_of(prologue.label, asked[self._label.name], self._label_type)
                self._given[self._label.name] = told
        self._classes = None if self._label is None else prologue.label
        classes = 0 if prologue.label is None else len(prologue.label.values)
        self._shares = {code: one for code, one in (shares or {}).items() if code <= classes}

    @property
    def added(self) -> list[pa.Field]:
        """The columns that drawn rows have beside the features: a label that was asked for."""
        if self._label is None or self._label.name not in self._given:
            return []
        return [pa.field(self._label.name, self._label_type)]

    def draw(self, rows: int, random: np.random.Generator) -> dict[str, pa.Array]:
        """The condition columns of as many rows, by name."""
        found = {name: pa.repeat(one[0], rows) for name, one in self._given.items()}
        for column in self._columns:
            if column.name not in found:
                found[column.name] = _drawn(
                    self._fitted[column.name], self._types.field(column.name).type, rows, random
                )
        if self._classes is not None and self._classes.column not in found and self._shares:
            label = _drawn_label(self._classes, self._shares, self._label_type, rows, random)
            found[self._classes.column] = label
        return found

    def inputs(self, drawn: Mapping[str, pa.Array], rows: int) -> dict[str, npt.NDArray[Any]]:
        """What the decoder is fed for the columns that were drawn."""
        fed = {column.name: _fed(drawn[column.name], column) for column in self._columns}
        if self._label is not None:
            told = drawn.get(self._label.name)
            unknown = pa.nulls(rows, self._label_type)
            fed[self._label.name] = _fed(unknown if told is None else told, self._label)
        return fed

    def codes(self, fed: Mapping[str, npt.NDArray[Any]], rows: int) -> npt.NDArray[np.int64]:
        """The prepared categories [rows, H] of what the decoder is `fed`; a label is the last."""
        if self._coding is None:
            return np.zeros((rows, 0), np.int64)
        found = self._coding.run([CODED], {name: fed[name] for name in self._coding.inputs})[0]
        return found.T

    @cached_property
    def _coding(self) -> Session | None:
        """The preprocessing of the conditions that are categories."""
        g = GraphBuilder()
        own = [one for one in self._fitted.values() if isinstance(one, Category)]
        codes = [
            Categories((one,)).lookup(
                g, one, g.input(one.column, STRING if one.text else INT64, ["batch"])
            )
            for one in own
        ]
        if self._classes is not None:
            codes.append(self._classes.lookup(g))
        if not codes:
            return None
        g.output(g.stack(codes), CODED, INT64, [len(codes), "batch"])
        return Session(g.model("conditions").SerializeToString())


def _require_conditional(asked: Mapping[str, str], names: Sequence[str], model: str) -> None:
    if asked and not names:
        raise ConfigError(
            f"--where needs a model that was trained with conditions, {model} has none; train one "
            "with --recipe cvae, or leave --where out"
        )
    for name in asked:
        if name not in names:
            raise ConfigError(
                f"--where must name a condition of the model ({', '.join(names)}), found "
                f"'{name}'{did_you_mean(name, list(names))}"
            )


def _fed(array: pa.Array, column: Column) -> npt.NDArray[Any]:
    values = to_input(array, column)
    numeric = column.kind in ("number", "boolean")
    return values.astype(np.float64, copy=False) if numeric else values


def _drawn(
    fitted: Scalar | Category, type_: pa.DataType, rows: int, random: np.random.Generator
) -> pa.Array:
    """Values as training saw them: each by its share."""
    share = random.random(rows)
    if isinstance(fitted, Category):
        own = fitted.kept[: len(fitted.shares) - 2]
        chances = np.array([fitted.shares[0], *fitted.shares[2:]])
        ends = np.cumsum(chances / chances.sum())
        places = np.minimum(np.searchsorted(ends, share, side="right"), len(own))
        return typed.categories(np.maximum(places - 1, 0), places > 0, own, type_)
    valid = random.random(rows) >= fitted.missing
    if fitted.kind == "boolean":
        return typed.booleans(share < fitted.mean, valid, type_)
    make = typed.times if fitted.kind == "timestamp" else typed.numbers
    return make(fitted.marginal.at(share), valid, type_)


def _drawn_label(
    label: Classes,
    shares: Mapping[int, float],
    type_: pa.DataType,
    rows: int,
    random: np.random.Generator,
) -> pa.Array:
    """Classes by their shares; null where that is what was drawn."""
    ends = np.cumsum(list(shares.values()))
    places = np.searchsorted(ends, ends[-1] * random.random(rows), side="right")
    drawn = np.array(list(shares))[np.minimum(places, len(ends) - 1)]
    valid, places = drawn != NOT_KNOWN, np.maximum(drawn - 1, 0)
    if label.taken == "number":
        values = np.array(label.values, np.float64)[places]
        if pt.is_boolean(type_):
            return typed.booleans(values != 0, valid, type_)
        return typed.numbers(values, valid, type_)
    return typed.categories(places, valid, label.values, type_)


def _one(fitted: Scalar | Category, text: str, type_: pa.DataType) -> pa.Array:
    """The value that `text` says, in a column of one row."""
    valid = np.ones(1, bool)
    if isinstance(fitted, Category):
        known = [*fitted.kept, *fitted.rare]
        place = _place(fitted.column, text, [str(value) for value in known])
        return typed.categories(np.zeros(1, np.int64), valid, [known[place]], type_)
    if fitted.kind == "boolean":
        truth = _TRUTHS.get(text.lower())
        if truth is None:
            raise _never(fitted.column, text, "true or false")
        return typed.booleans(np.array([truth]), valid, type_)
    values = fitted.marginal.values
    first, last = values[0], values[-1]
    number = _micros(text) if fitted.kind == "timestamp" else _number(text)
    if not first <= number <= last:
        raise _never(fitted.column, text, f"a value from {_said(fitted, first)} to "
                     f"{_said(fitted, last)}")  # fmt: skip
    make = typed.times if fitted.kind == "timestamp" else typed.numbers
    return make(np.array([number]), valid, type_)


def _label_of(label: Classes, text: str, type_: pa.DataType) -> pa.Array:
    """The class that `text` says, in a column of one row."""
    known = [value for value in label.values if value != NULL_TEXT]
    if label.taken == "number" and text.lower() in ("true", "false"):
        text = str(_TRUTHS[text.lower()] * 1)
    told = [str(value) for value in known]
    if label.taken != "text":
        number = _number(text)
        text = next((one for one, v in zip(told, known, strict=True) if v == number), text)
    value = known[_place(label.column, text, told)]
    valid = np.ones(1, bool)
    if pt.is_boolean(type_):
        return typed.booleans(np.array([bool(value)]), valid, type_)
    if label.taken == "number":
        return typed.numbers(np.array([value], np.float64), valid, type_)
    return typed.categories(np.zeros(1, np.int64), valid, [value], type_)


def _type_of(column: Column, label: Classes) -> pa.DataType:
    """The type of a label's column, or one that holds all its classes."""
    try:
        return pa.type_for_alias(column.type)
    except ValueError:
        return pa.string() if label.taken == "text" else pa.float64()


def _place(column: str, text: str, known: Sequence[str]) -> int:
    if text in known:
        return known.index(text)
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    told = f"one of {', '.join(known[:_SHOWN])}{more}"
    raise _never(column, text, told + did_you_mean(text, list(known)).rstrip("?"))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _micros(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.timestamp() * 1e6


def _said(fitted: Scalar, value: float) -> str:
    if fitted.kind == "timestamp":
        return f"{np.datetime64(int(value), 'us')}"
    return f"{value:.15g}"


def _never(column: str, text: str, known: str) -> ConfigError:
    return ConfigError(
        f"--where '{column}' must be a value that training saw, {known}, found '{text}'"
    )
