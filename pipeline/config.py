"""What a user may ask for: frozen, strict models, and the errors that name the wrong field.

Imports no package but pydantic, so that the command line can build its options from these models
without loading Arrow or a runtime.
"""

from __future__ import annotations

import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pipeline.errors import ConfigError
from pipeline.locations import S3Location, locate, redacted

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([KMG]i?B|B)\s*$", re.IGNORECASE)
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([smhd])\s*$")


class Config(BaseModel):
    """Base of all settings and manifests: frozen, unknown fields refused."""

    # A wrong value may hold a secret, and pydantic's own errors reach Prefect's database.
    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True
    )


_Model = TypeVar("_Model", bound=Config)


def parse(model: type[_Model], values: Any, *, where: str = "$") -> _Model:
    """A checked `model` from plain `values`; `where` roots the paths named in errors.

    Raises:
        ConfigError: naming every wrong field by its path.

    >>> parse(EmbeddingJob, {"bundle": "b", "source": "s"}, where="$.embed")
    Traceback (most recent call last):
    ...
    pipeline.errors.ConfigError: $.embed.destination: required, but missing
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(item, where) for item in error.errors())) from None


def _explain(item: Any, where: str) -> str:
    path = ".".join([where, *(str(part) for part in item["loc"])])
    if item["type"] == "missing":
        return f"{path}: required, but missing"
    if item["type"] == "extra_forbidden":
        return f"{path}: unknown field; check its spelling or remove it"
    if item["type"] == _LOCATION_ERROR:
        return f"{path}: {item['msg']}"
    found = redacted(repr(item["input"]))
    return f"{path}: {item['msg'].removeprefix('Value error, ')}, found {found}"


def load_toml(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: if the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"cannot read configuration {path}: {reason}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"configuration {path} is not valid TOML: {error}") from None


def parse_bytes(text: str) -> int:
    """Bytes named by a size such as ``2GB`` or ``512 MiB``.

    >>> parse_bytes("1.5GB"), parse_bytes("64KiB")
    (1500000000, 65536)
    """
    match = _SIZE.match(text)
    if match is None:
        raise ValueError("a size such as 2GB or 512MiB is required")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def parse_seconds(text: str) -> float:
    """Seconds named by a duration such as ``15m`` or ``1.5 h``.

    >>> parse_seconds("15m"), parse_seconds("0s"), parse_seconds("1.5 h")
    (900.0, 0.0, 5400.0)
    """
    match = _DURATION.match(text)
    if match is None:
        raise ValueError("a duration such as 90s, 15m, 2h or 1d is required")
    return float(match[1]) * _SECONDS[match[2]]


_LOCATION_ERROR = "location"


def _location(text: str) -> str:
    """`text` if it names a place; of a URL, the one way to write it."""
    try:
        place = locate(text)
    except ConfigError as error:
        raise PydanticCustomError(_LOCATION_ERROR, "{reason}", {"reason": str(error)}) from None
    return str(place) if "://" in text else text


def _local(text: str) -> str:
    if isinstance(locate(text), S3Location):
        raise PydanticCustomError(
            _LOCATION_ERROR, "a local path is required, found an s3:// URL; write here and copy"
        )
    return text


LocationText = Annotated[str, AfterValidator(_location)]
LocalText = Annotated[LocationText, AfterValidator(_local)]


Kind = Literal["number", "category", "boolean", "timestamp", "vector", "image"]
Role = Literal["feature", "key", "event_time", "label", "condition", "ignore"]


Channels = Literal["first", "last"]
_MOST_COLOURS = 4


class ImageAxes(Config):
    """The axes of an image before its elements were laid in a row, as a project file says them."""

    shape: Annotated[
        tuple[Annotated[int, Field(ge=1, le=2**16)], ...] | None,
        Field(
            min_length=2,
            max_length=3,
            description="Axes of an image: [height, width], or three of which one are channels.",
        ),
    ] = None
    channels: Annotated[
        Channels,
        Field(description="Which axis are channels: [channels, height, width], or the last one."),
    ] = "first"

    @model_validator(mode="after")
    def _is_not_the_other_way(self) -> Self:
        shape = self.shape or ()
        if len(shape) == 3 and self.channels == "first" and shape[2] <= _MOST_COLOURS < shape[0]:
            raise ValueError(
                f"shape {list(shape)} must be [channels, height, width] but looks the other way; "
                'say channels = "last" for [height, width, channels]'
            )
        return self


class ColumnOverride(ImageAxes):
    """What a project file says of one column where the guess from the table is not wanted."""

    kind: Annotated[Kind | None, Field(description="What the values mean.")] = None
    role: Annotated[Role | None, Field(description="What the column is for.")] = None

    @model_validator(mode="after")
    def _only_images_have_axes(self) -> Self:
        if self.shape is not None and self.kind != "image":
            raise ValueError('a shape needs kind = "image"; add it or leave the shape out')
        return self


class PixelColumns(ImageAxes):
    """An image whose elements are columns of their own, as a project file says it."""

    columns: Annotated[
        tuple[str, ...],
        Field(
            min_length=1,
            description="Names or patterns (pixel_*) of its columns, element by element.",
        ),
    ]


def _duration(text: str) -> str:
    parse_seconds(text)
    return text


Keep = Annotated[int, Field(ge=1, description="Published versions to keep, the newest included.")]
Grace = Annotated[
    str,
    AfterValidator(_duration),
    Field(description="Time that readers have with a version after it was replaced, such as 15m."),
]


class RetentionJob(Config):
    """Delete what a destination need not keep."""

    destination: Annotated[LocationText, Field(description="Folder of published vectors.")]
    keep: Keep = 3
    grace: Grace = "15m"


class MonitorJob(Config):
    """Compare what a run computed with the training table and with the run before."""

    destination: Annotated[LocationText, Field(description="Folder of published vectors.")]
    run: Annotated[
        str | None,
        Field(description="Version, or the beginning of its id; default: the newest one."),
    ] = None


class EmbeddingJob(Config):
    """Embed the rows of a Parquet table and publish the vectors as a new version."""

    bundle: Annotated[LocationText, Field(description="Folder of the trained model.")]
    source: Annotated[LocationText, Field(description="Parquet file or folder to embed.")]
    destination: Annotated[
        LocationText, Field(description="Folder to publish to; readers open its `current`.")
    ]
    vector: Annotated[
        Literal["fixed", "list", "wide"],
        Field(description="One fixed-size list, one list, or one column per dimension."),
    ] = "fixed"
    dtype: Annotated[
        Literal["float32", "float16"], Field(description="Type of the stored numbers.")
    ] = "float32"
    scores: Annotated[bool, Field(description="Add each row's reconstruction error.")] = False
    threads: Annotated[
        int | None,
        Field(ge=1, description="Worker threads; default: what the container may use."),
    ] = None
    memory: Annotated[str | None, Field(description="Bound on data in flight, such as 2GB.")] = None
    unique_keys: Annotated[
        bool, Field(description="Refuse rows without a key, and keys that stand twice.")
    ] = False
    first_day: Annotated[
        date | None,
        Field(description="Embed only files with rows of this day or later, such as 2026-11-22."),
    ] = None
    last_day: Annotated[
        date | None,
        Field(description="Embed only files with rows of this day or earlier."),
    ] = None
    prepared: Annotated[
        LocationText | None,
        Field(description="Destination whose finished parts are taken over, as a backfill's."),
    ] = None
    keep: Keep = 3
    grace: Grace = "15m"

    @field_validator("last_day")
    @classmethod
    def _is_not_before_the_first(cls, value: date | None, given: ValidationInfo) -> date | None:
        first = given.data.get("first_day")
        if value is not None and first is not None and value < first:
            raise ValueError(f"{first} or a later day is required")
        return value

    @field_validator("memory")
    @classmethod
    def _is_a_size(cls, value: str | None) -> str | None:
        if value is not None:
            parse_bytes(value)
        return value


class GenerationJob(Config):
    """Draw rows like those that a model was trained on, into a new Parquet file."""

    bundle: Annotated[LocationText, Field(description="Folder of the trained model.")]
    rows: Annotated[int, Field(ge=1, le=10**9, description="Rows to draw.")]
    out: Annotated[LocalText, Field(description="Parquet file to write; it must not be there yet.")]
    where: Annotated[
        tuple[str, ...],
        Field(description="Condition of a conditional model, as COLUMN=VALUE."),
    ] = ()
    seed: Annotated[
        int, Field(ge=0, lt=2**63, description="Seed; the same one draws the same bytes.")
    ] = 0

    @field_validator("out")
    @classmethod
    def _is_parquet(cls, value: str) -> str:
        if not value.endswith(".parquet"):
            raise ValueError("a file that ends in .parquet is required")
        return value

    @field_validator("where")
    @classmethod
    def _are_conditions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = [condition.partition("=")[0] for condition in value]
        if any(
            "=" not in condition or not name for condition, name in zip(value, names, strict=True)
        ):
            raise ValueError("conditions such as country=IT are required")
        if len({*names}) < len(names):
            raise ValueError("one condition a column is required")
        return value
