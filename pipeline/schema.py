"""The contract of a table: which columns there are, what they mean, and what they are for.

Inferred once when training, stored in every bundle, and compared with every file before anything
is computed, so that nothing is ever cast, filled or dropped silently.
"""

from __future__ import annotations

import difflib
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.types as pt
from pydantic import SerializerFunctionWrapHandler, model_serializer

from pipeline.config import Config, Kind, Role
from pipeline.images import ImageShape, PixelImage

OUTPUT_NAMES = ("embedding", "reconstruction_error")
# A table that shares nothing with its contract is told at once: comparing spellings takes time with
# the square of their lengths, for every pair of names.
_COMPARABLE_NAMES, _COMPARABLE_LETTERS = 500, 100
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
