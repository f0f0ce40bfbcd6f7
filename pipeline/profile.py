"""Profiles: how often which values stood in the columns of a table, small enough to keep for ever.

A bundle keeps the cells that values are counted in and the counts of its training table
(``profile.json``); every run counts a sample of its own rows in the same cells
(``_profile.json``), so that any two can be compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from pipeline.config import Config
from pipeline.errors import BundleError, DestinationError

FORMAT = 1
TRAINING_PROFILE = "profile.json"
RUN_PROFILE = "_profile.json"
# Rows of one file stand together: what files differ by is known from files, not from their rows.
MOST_BLOCKS = 32

Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
GaugeKind = Literal[
    "number", "boolean", "category", "timestamp", "vector", "latent", "reconstruction error"
]


class Gauge(Config):
    """The cells that one thing is counted in: a column, a summary of it, a latent, the error.

    Cell 0 counts nulls. Of ordered values, cell i counts those from ``edges[i-2]`` to below
    ``edges[i-1]``: cell 1 what is below and the last one what is above all of training. Of times,
    cell 1 counts those before ``edges[0]``, the first of training, and 24 cells the hours of the
    day. Of categories, cell 1 counts what the model never saw, cell 2 what is not frequent, and
    cell 3 + i the code ``codes[i]``, which is called ``labels[i]``.
    """

    name: str
    column: str
    kind: GaugeKind
    edges: tuple[Finite, ...] = ()
    codes: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def cells(self) -> int:
        """Number of cells."""
        if self.kind == "category":
            return 3 + len(self.codes)
        return 26 if self.kind == "timestamp" else 2 + len(self.edges)

    @property
    def ordered(self) -> bool:
        """Whether neighbouring cells hold neighbouring values."""
        return self.kind not in ("category", "timestamp")


class Latents(Config):
    """Sums and sums of squares of the embedding, each of as many numbers as it has."""

    sums: tuple[Finite, ...]
    squares: tuple[Finite, ...]


class Block(Config):
    """Counted rows that stood together: of one file, or one stretch of it.

    `rows` of it were counted in `counts`, by gauge and cell; a gauge that was not used has none.
    """

    source: str
    rows: Count
    counts: tuple[tuple[Count, ...], ...]
    latents: Latents


class Counted(Config):
    """Counted rows in their blocks; `rows` is how many there were, counted or not."""

    rows: Count
    blocks: tuple[Block, ...]


class TrainingProfile(Config):
    """What a bundle knows of the rows it was made from: the gauges, and the counts of that table.

    Raises:
        ValueError: if counts do not fit the gauges.
    """

    format: int
    gauges: tuple[Gauge, ...]
    dim: Annotated[int, Field(ge=1)]
    training: Counted

    @model_validator(mode="after")
    def _fits(self) -> Self:
        require_fit(self.gauges, self.dim, self.training)
        return self

    def to_bytes(self) -> bytes:
        """The bytes of the sealed file."""
        return self.model_dump_json().encode() + b"\n"


class RunProfile(TrainingProfile):
    """What a run computed, in the cells of its model, beside the counts of the training table."""

    model: str
    run: Counted

    @model_validator(mode="after")
    def _fits_too(self) -> Self:
        require_fit(self.gauges, self.dim, self.run)
        return self


def require_fit(gauges: tuple[Gauge, ...], dim: int, counted: Counted) -> None:
    """Make sure that counts have the cells of `gauges`.

    Raises:
        ValueError: if they have not.
    """
    cells = [gauge.cells for gauge in gauges]
    for block in counted.blocks:
        found = [len(counts) for counts in block.counts]
        fits = len(found) == len(cells) and all(
            n in (0, k) for n, k in zip(found, cells, strict=True)
        )
        widths = {len(block.latents.sums), len(block.latents.squares)}
        if not fits or widths != {dim}:
            raise ValueError(f"the counts of {block.source} do not fit {len(cells)} gauges")


def merged(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """Blocks of one source as one, in the order in which the sources come."""
    found: dict[str, list[Block]] = defaultdict(list)
    for block in blocks:
        found[block.source].append(block)
    return tuple(together(same) for same in found.values())


def together(blocks: list[Block]) -> Block:
    """The sum of some blocks, called after the first."""
    first = blocks[0]
    if len(blocks) == 1:
        return first
    columns = zip(*(block.counts for block in blocks), strict=True)
    return Block(
        source=first.source,
        rows=sum(block.rows for block in blocks),
        counts=tuple(_summed([one for one in column if one]) for column in columns),
        latents=Latents(
            sums=_added([block.latents.sums for block in blocks]),
            squares=_added([block.latents.squares for block in blocks]),
        ),
    )


def _summed(counts: list[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*counts, strict=True)))


def _added(numbers: list[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(rounded(sum(values)) for values in zip(*numbers, strict=True))


def rounded(value: float) -> float:
    """`value` with the digits that do not depend on the order of a sum."""
    return float(f"{value:.9g}")


def read_training(content: bytes, *, path: str) -> TrainingProfile:
    """The profile in the sealed file of a bundle, found at `path`.

    Raises:
        BundleError: if it is damaged, or of a newer format.
    """
    found = _read(TrainingProfile, content)
    if found is None:
        raise BundleError(
            f"{path} must be a profile of format {FORMAT}, found something else; update "
            "parquet2vec, or copy the bundle again"
        )
    return found


def read_run(content: bytes, *, path: str) -> RunProfile:
    """The profile of a run, found at `path`.

    Raises:
        DestinationError: if it is damaged, or of a newer format.
    """
    found = _read(RunProfile, content)
    if found is None:
        raise DestinationError(
            f"{path} must be a profile of format {FORMAT}, found something else; update "
            "parquet2vec, or embed again"
        )
    return found


_Profile = TypeVar("_Profile", bound=TrainingProfile)


def _read(kind: type[_Profile], content: bytes) -> _Profile | None:
    """The profile in `content`; None if it is damaged, or of another format."""
    try:
        found = kind.model_validate_json(content)
    except ValidationError:
        return None
    return found if found.format == FORMAT else None
