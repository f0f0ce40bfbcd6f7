"""The contract of a table that has none yet: guessed from its types and some rows.

Every guess can be overridden; what is asked for and cannot be is told at once, all of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from pipeline.config import ColumnOverride, PixelColumns, Role
from pipeline.errors import SchemaError
from pipeline.images import PixelImage, pixel_image, shape_of
from pipeline.schema import (
    OUTPUT_NAMES,
    Column,
    FeatureSchema,
    did_you_mean,
    is_text,
    is_vector,
    kinds_of,
    value_type,
)

_DATE = r"^\d{4}-\d{2}(-\d{2}([T ]\d{2}.*)?)?$"
_DIGITS, _NAMES_A_DATE = r"^\d{1,8}$", re.compile(r"year|date|day|dt|ds", re.IGNORECASE)


def infer(
    arrow_schema: pa.Schema,
    sample: pa.Table,
    *,
    keys: Sequence[str] = (),
    labels: Sequence[str] = (),
    event_time: str | None = None,
    ignore: Sequence[str] = (),
    overrides: Mapping[str, ColumnOverride] | None = None,
    images: Mapping[str, PixelColumns] | None = None,
) -> FeatureSchema:
    """The contract of a table from its footers (`arrow_schema`) and some rows (`sample`).

    Columns of types that have no meaning as a feature (structs, binaries, lists of changing
    length) get the role ``ignore``, and so do dates as text, such as ``day=2026-11-22`` folders:
    every new one would be a category that no model has seen. `overrides` win over every guess.
    `images` are made of columns.

    Raises:
        SchemaError: if a named column is missing, a kind does not fit a type, a name is unusable,
            or no feature is left. All problems are reported at once.
    """
    overrides = overrides or {}
    asked: dict[str, Role] = dict.fromkeys(ignore, "ignore")
    asked.update(dict.fromkeys(keys, "key"))
    asked.update(dict.fromkeys(labels, "label"))
    if event_time is not None:
        asked[event_time] = "event_time"
    asked |= {name: said.role for name, said in overrides.items() if said.role is not None}
    problems = [
        f"column '{name}' is named as {asked.get(name, 'overridden')} but is not in the table"
        + did_you_mean(name, arrow_schema.names)
        for name in {**asked, **overrides}
        if name not in arrow_schema.names
    ]
    columns = []
    for field in arrow_schema:
        said = overrides.get(field.name, ColumnOverride())
        column, problem = _infer_column(field, sample, said, asked.get(field.name))
        columns.append(column)
        problems += [problem] if problem else []
    found, wrong = _infer_images(images or {}, columns)
    problems += wrong
    schema = FeatureSchema(columns=tuple(columns), images=found)
    problems += _unusable_names(arrow_schema.names, schema)
    if not problems and not schema.features:
        problems.append(
            "the table has no column that can be a feature; "
            f"found {', '.join(f'{c.name} ({c.type}, {c.role})' for c in columns) or 'no columns'}"
        )
    if problems:
        raise SchemaError("; ".join(problems))
    return schema


def _infer_images(
    said: Mapping[str, PixelColumns], columns: Sequence[Column]
) -> tuple[tuple[PixelImage, ...], list[str]]:
    names = [column.name for column in columns]
    pixels = [
        column.name
        for column in columns
        if column.role == "feature" and column.kind in ("number", "boolean")
    ]
    made = [pixel_image(name, one, pixels=pixels, names=names) for name, one in said.items()]
    found = tuple(image for image, _ in made if image is not None)
    shared = Counter(column for image in found for column in image.columns)
    problems = [problem for _, problem in made if problem]
    problems += [
        f"column '{name}' is in {count} images; one column is one element of one image"
        for name, count in shared.items()
        if count > 1
    ][:1]
    return found, problems


def _infer_column(
    field: pa.Field, sample: pa.Table, said: ColumnOverride, role: Role | None
) -> tuple[Column, str | None]:
    type_, problem, kind, shape = value_type(field.type), None, said.kind, None
    possible, length = kinds_of(type_), _vector_length(type_, sample, field.name)
    if possible[:1] == ("vector",) and length is None:
        possible = ()
    if kind is not None and kind not in possible:
        problem = (
            f"column '{field.name}' cannot be {kind}: its type is {type_}; "
            f"possible: {', '.join(possible) or 'none'}"
        )
    if role is None and is_text(type_) and _are_dates(sample, field.name):
        possible = ()
    found = kind or next(iter(possible), None)
    if kind == "image" and length is not None and not problem:
        shape, problem = shape_of(said, elements=length, what=f"column '{field.name}'")
    if role == "event_time" and found != "timestamp":
        problem = f"event time '{field.name}' must be a timestamp or date, found {type_}"
    if role == "key" and pt.is_nested(type_):
        problem = (
            f"key '{field.name}' must be one value, found {type_}; name rows by a plain column"
        )
    if role is None:
        role = "feature" if found else "ignore"
    elif role in ("feature", "condition") and found is None:
        problem = f"column '{field.name}' of type {type_} cannot be a {role}; ignore it"
    column = Column(
        name=field.name,
        kind=found,
        role=role,
        type=str(type_),
        length=length if found in ("vector", "image") else None,
        shape=shape,
    )
    return column, problem or None


def _are_dates(sample: pa.Table, name: str) -> bool:
    """Whether all sampled texts of a column are dates; digits are where the name says so."""
    if name not in sample.schema.names:
        return False
    values = sample.column(name).cast(pa.large_string()).drop_null()
    form = _DIGITS if _NAMES_A_DATE.fullmatch(name) else _DATE
    return len(values) > 0 and any(
        pc.all(pc.match_substring_regex(values, one)).as_py() for one in {form, _DATE}
    )


def _unusable_names(names: Sequence[str], schema: FeatureSchema) -> list[str]:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    problems = [f"column '{name}' stands twice in the table; rename one" for name in twice]
    for column in schema.with_role("feature", "condition", "key", "event_time"):
        if column.name == "" or "\0" in column.name or column.name.startswith("p2v/"):
            problems.append(f"column name {column.name!r} cannot be a model input; rename it")
        if column.name in OUTPUT_NAMES:
            problems.append(
                f"column '{column.name}' has the name of an output; rename it or ignore it"
            )
    return problems


def _vector_length(type_: pa.DataType, sample: pa.Table, name: str) -> int | None:
    """Elements of a vector column, from its type or its sampled rows; None where they differ."""
    if pt.is_fixed_size_list(type_):
        return int(type_.list_size) or None
    if not is_vector(type_) or name not in sample.column_names:
        return None
    lengths = {len(row) for row in sample[name].to_pylist() if row is not None}
    return lengths.pop() or None if len(lengths) == 1 else None
