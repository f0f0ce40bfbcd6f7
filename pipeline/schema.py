"""The contract of a table: which columns there are, what they mean, and what they are for.

Inferred once when training, stored in every bundle, and compared with every file before anything
is computed, so that nothing is ever cast, filled or dropped silently.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from pydantic import SerializerFunctionWrapHandler, model_serializer

from pipeline.config import ColumnOverride, Config, Kind, PixelColumns, Role
from pipeline.errors import SchemaError
from pipeline.images import ImageShape, PixelImage, pixel_image, shape_of

OUTPUT_NAMES = ("embedding", "reconstruction_error")
# A table that shares nothing with its contract is told at once: comparing spellings takes time with
# the square of their lengths, for every pair of names.
_COMPARABLE_NAMES, _COMPARABLE_LETTERS = 500, 100
_DATE = r"^\d{4}-\d{2}(-\d{2}([T ]\d{2}.*)?)?$"
_DIGITS, _NAMES_A_DATE = r"^\d{1,8}$", re.compile(r"year|date|day|dt|ds", re.IGNORECASE)
_READ_ROLES: tuple[Role, ...] = ("feature", "condition", "key", "event_time", "label")


class Column(Config):
    """One column of the contract.

    `kind` is None for keys, labels and ignored columns whose type has no meaning as a feature.
    `type` is the Arrow type as text; `length` counts the elements of a vector, and `shape` says how
    those of an image lie.
    """

    name: str
    kind: Kind | None
    role: Role
    type: str
    length: int | None = None
    shape: ImageShape | None = None

    @model_serializer(mode="wrap")
    def _without_empty_shape(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_empty(dump(self), "shape")


class FeatureSchema(Config):
    """The columns of a table in their order, each with a kind and a role.

    `images` are those whose elements are columns of their own.
    """

    columns: tuple[Column, ...]
    images: tuple[PixelImage, ...] = ()

    @model_serializer(mode="wrap")
    def _without_empty_images(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_empty(dump(self), "images")

    def with_role(self, *roles: Role) -> tuple[Column, ...]:
        """The columns that have one of `roles`, in table order."""
        return tuple(column for column in self.columns if column.role in roles)

    @property
    def features(self) -> tuple[Column, ...]:
        """The columns an encoder reads."""
        return self.with_role("feature", "condition")

    @property
    def keys(self) -> tuple[Column, ...]:
        """The columns that name a row; they pass through untouched."""
        return self.with_role("key")

    @property
    def labels(self) -> tuple[Column, ...]:
        """The columns to be predicted downstream; never among an encoder's inputs."""
        return self.with_role("label")

    @property
    def event_time(self) -> Column | None:
        """The column that says when a row happened, if there is one."""
        return next(iter(self.with_role("event_time")), None)

    def by_kind(self, *kinds: Kind) -> tuple[Column, ...]:
        """The feature columns of one of `kinds`."""
        return tuple(column for column in self.features if column.kind in kinds)

    @property
    def shapes(self) -> dict[str, ImageShape]:
        """The shape of every image by its name: columns of kind image, then `images`."""
        columns = {column.name: column.shape for column in self.by_kind("image") if column.shape}
        return columns | {image.name: image.shape for image in self.images}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the contract, as hexadecimal text."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def __getitem__(self, name: str) -> Column:
        """The column called `name`."""
        return next(column for column in self.columns if column.name == name)


def _without_empty(values: dict[str, Any], name: str) -> dict[str, Any]:
    """Contracts without images keep the text, and so the hash, that they had before images."""
    return {key: value for key, value in values.items() if key != name or value}


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
    possible, length = kinds_of(type_), vector_length(type_, sample, field.name)
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


def value_type(type_: pa.DataType) -> pa.DataType:
    """The type of a column's values: of the dictionary's where it is encoded, as it is stored."""
    type_ = type_.value_type if pt.is_dictionary(type_) else type_
    return type_.storage_type if isinstance(type_, pa.BaseExtensionType) else type_


def is_text(type_: pa.DataType) -> bool:
    """Whether the values are strings in any of Arrow's layouts."""
    return bool(pt.is_string(type_) or pt.is_large_string(type_) or pt.is_string_view(type_))


def is_vector(type_: pa.DataType) -> bool:
    """Whether the values are lists of numbers, of fixed or changing length."""
    listed = pt.is_fixed_size_list(type_) or pt.is_list(type_) or pt.is_large_list(type_)
    return bool(listed and (pt.is_integer(type_.value_type) or pt.is_floating(type_.value_type)))


def kinds_of(type_: pa.DataType) -> tuple[Kind, ...]:
    """The kinds a column of `type_` can have, the natural one first.

    >>> kinds_of(pa.int8()), kinds_of(pa.date32()), kinds_of(pa.binary())
    (('number', 'category'), ('timestamp',), ())
    """
    if pt.is_boolean(type_):
        return ("boolean",)
    if pt.is_integer(type_):
        return ("number", "category")
    if pt.is_floating(type_) or pt.is_decimal(type_):
        return ("number",)
    if is_text(type_):
        return ("category",)
    if pt.is_timestamp(type_) or pt.is_date(type_):
        return ("timestamp",)
    if is_vector(type_):
        return ("vector", "image")
    return ()


def vector_length(type_: pa.DataType, sample: pa.Table, name: str) -> int | None:
    """Elements of a vector column, from its type or its sampled rows; None where they differ."""
    if pt.is_fixed_size_list(type_):
        return int(type_.list_size) or None
    if not is_vector(type_) or name not in sample.column_names:
        return None
    lengths = {len(row) for row in sample[name].to_pylist() if row is not None}
    return lengths.pop() or None if len(lengths) == 1 else None


def differences(
    schema: FeatureSchema,
    arrow_schema: pa.Schema,
    *,
    roles: Iterable[Role] = _READ_ROLES,
    hints: int = 5,
) -> list[str]:
    """How a file's footer breaks the contract, one sentence each; empty when it keeps it.

    Comparison is by kind: any width of number stands for any other, any layout of strings for
    any other, while a number is never taken for a boolean, a string or a time. Extra columns are
    no difference. The first `hints` missing columns are told with the closest one.
    """
    found = []
    names = arrow_schema.names
    counts, types = Counter(names), dict(zip(names, arrow_schema.types, strict=True))
    for column in schema.with_role(*roles):
        count = counts[column.name]
        if count == 0:
            hint = did_you_mean(column.name, names) if hints > 0 else ""
            hints -= 1
            found.append(f"column '{column.name}' ({column.kind or column.type}) is missing{hint}")
        elif count > 1:
            found.append(f"column '{column.name}' stands {count} times; rename one")
        elif problem := _type_problem(column, value_type(types[column.name])):
            found.append(problem)
    return found


def _type_problem(column: Column, type_: pa.DataType) -> str | None:
    if pt.is_null(type_) or str(type_) == column.type:
        return None
    required = f"column '{column.name}' must be {column.kind or column.type}"
    if column.kind is None:
        return f"{required}, found {type_}"
    if column.kind not in kinds_of(type_):
        return f"{required} ({column.type}), found {type_}; cast it, or train on the new type"
    if column.kind == "category" and is_text(type_) != ("string" in column.type):
        return f"{required} of {column.type}, found {type_}; cast it"
    if column.kind == "timestamp" and _zoned(str(type_)) != _zoned(column.type):
        return f"{required} {column.type}, found {type_}; set or remove its time zone"
    if pt.is_fixed_size_list(type_) and type_.list_size != column.length:
        return f"{required} of length {column.length}, found {type_.list_size}"
    return None


def _zoned(type_: str) -> bool:
    return "tz=" in type_


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """A hint naming the column that is closest in spelling, or nothing.

    >>> did_you_mean("Age", ["age", "sex"])
    "; did you mean 'age'?"
    """
    lowered = {other.lower(): other for other in names}
    close = [name.lower()] if name.lower() in lowered else []
    if not close and len(name) <= _COMPARABLE_LETTERS and len(lowered) <= _COMPARABLE_NAMES:
        short = [other for other in lowered if len(other) <= _COMPARABLE_LETTERS]
        close = difflib.get_close_matches(name.lower(), short, n=1, cutoff=0.75)
    return f"; did you mean '{lowered[close[0]]}'?" if close else ""
