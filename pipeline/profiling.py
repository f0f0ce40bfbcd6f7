"""Counting a sample of the rows that are embedded, from the very arrays that the encoder is fed.

Which rows are counted depends on their places in the shard alone: not on batches, workers or
threads, so that a run that was killed and goes on counts what an undisturbed one counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline import arrow
from pipeline.encoder import Inputs, Scorer
from pipeline.feed import NULL_INT
from pipeline.gauging import Values, count, edges_of, frequent_codes, means, norms
from pipeline.keys import mix
from pipeline.profile import (
    FORMAT,
    MOST_BLOCKS,
    Block,
    Counted,
    Gauge,
    GaugeKind,
    Latents,
    TrainingProfile,
    rounded,
)
from pipeline.schema import FeatureSchema

# Of a shard and of a run: enough to tell shares a few percentage points apart.
MOST_ROWS, LEAST_ROWS, ROWS_PER_RUN = 2_048, 256, 65_536
# Of a run, and of a shard of many: what scores a row does several times the work of what embeds it.
SCORED_PER_RUN, LEAST_SCORED = 1_024, 32
# Numbers held until a shard is counted; they are 8 MB.
MOST_NUMBERS = 2**20
ERROR = "reconstruction_error"

Places = npt.NDArray[np.int64]


class Thing(NamedTuple):
    """What a gauge counts, before its cells are cut."""

    name: str
    column: str
    kind: GaugeKind


def things_of(schema: FeatureSchema, *, dim: int, scored: bool) -> tuple[Thing, ...]:
    """What is counted of a table: its features, in the order of `Sample.values`.

    Keys name rows and event times pass: neither is counted. A vector is counted by its norm and its
    mean.
    """
    found: list[Thing] = []
    for column in schema.by_kind("number", "boolean"):
        kind: GaugeKind = "boolean" if column.kind == "boolean" else "number"
        found.append(Thing(column.name, column.name, kind))
    found += [Thing(one.name, one.name, "timestamp") for one in schema.by_kind("timestamp")]
    found += [Thing(one.name, one.name, "category") for one in schema.by_kind("category")]
    for column in schema.by_kind("vector", "image"):
        found += [
            Thing(f"{column.name} ({what})", column.name, "vector") for what in ("norm", "mean")
        ]
    found += [Thing(f"embedding_{i}", f"embedding_{i}", "latent") for i in range(dim)]
    if scored:
        found.append(Thing(ERROR, ERROR, "reconstruction error"))
    return tuple(found)


def shares_of_run(rows: Sequence[int], *, width: int) -> dict[int, int]:
    """How many rows to count of which shard, by its place in `rows`, the rows of each shard.

    Of many shards some that lie evenly are counted. `width` counts the numbers a row has.
    """
    counted = [place for place, size in enumerate(rows) if size]
    if len(counted) > MOST_BLOCKS:
        counted = [counted[i * len(counted) // MOST_BLOCKS] for i in range(MOST_BLOCKS)]
    most = min(MOST_ROWS, ROWS_PER_RUN // max(1, len(counted)), MOST_NUMBERS // max(1, width))
    return {place: min(rows[place], max(LEAST_ROWS, most)) for place in counted}


def scored_of_shard(counted: int, *, shards: int, width: int) -> int:
    """How many of the `counted` rows of a shard to score, of `shards` that are counted.

    `width` counts the numbers a row is fed as.
    """
    most = max(LEAST_SCORED, SCORED_PER_RUN // shards)
    return min(counted, most, max(1, MOST_NUMBERS // width))


def places_of(rows: int, count: int) -> Places:
    """`count` of the places 0…`rows` - 1, ascending: one of each stretch of equal length.

    Not at equal steps, which could always meet the same hour of a day.

    >>> places_of(4, 4)
    array([0, 1, 2, 3])
    """
    ends = np.arange(count + 1, dtype=np.int64) * rows // max(1, count)
    lengths = np.diff(ends).astype(np.uint64)
    found: Places = ends[:-1] + (mix(np.arange(count, dtype=np.uint64)) % lengths).astype(np.int64)
    return found


class _Walk:
    """Some `places` of a shard, met batch by batch."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._row = 0

    def next(self, rows: int) -> Places:
        """Which of the next `rows` rows stand there, by their place among them."""
        low, high = np.searchsorted(self._places, [self._row, self._row + rows])
        found: Places = self._places[low:high] - self._row
        self._row += rows
        return found


class Sample:
    """The values of the rows at `places` of a shard, gathered batch by batch.

    `errors` are the reconstruction errors of those that were scored.
    """

    def __init__(self, places: Places) -> None:
        self._walk = _Walk(places)
        self._found: list[list[Values]] = []
        self.errors: list[Values] = []

    def add(
        self,
        inputs: Inputs,
        embedding: npt.NDArray[np.float32],
        scores: npt.NDArray[np.float32] | None,
    ) -> None:
        """Take in the next batch, with its reconstruction errors where the run has them."""
        at = self._walk.next(inputs.rows)
        if not len(at):
            return
        if scores is not None:
            self.errors.append(scores[at])
        values: list[Values] = [one[at] for one in inputs.numbers]
        values += [one[at] for one in (*inputs.times, *inputs.codes)]
        for vectors in inputs.vectors.values():
            picked = vectors[at]
            values += [norms(picked), means(picked)]
        self._found.append([*values, embedding[at]])

    @property
    def rows(self) -> int:
        """Rows gathered."""
        return sum(len(values[-1]) for values in self._found)

    def embedding(self) -> npt.NDArray[np.float32]:
        """The embedding of the gathered rows, [N, dim]."""
        found: npt.NDArray[np.float32] = np.concatenate([values[-1] for values in self._found])
        return found

    def values(self) -> list[Values]:
        """The values of each of `things_of`, [N]; the last are errors if there are any."""
        columns: list[Any] = [np.concatenate(parts) for parts in zip(*self._found, strict=True)]
        latents = list(columns.pop().T)
        return [*columns, *latents, *([np.concatenate(self.errors)] if self.errors else [])]

    def block(self, gauges: Sequence[Gauge], *, source: str) -> Block:
        """The gathered rows, counted."""
        values = self.values()
        embedding = self.embedding().astype(np.float64)
        counts = [count(*pair) for pair in zip(gauges, values, strict=False)]
        return Block(
            source=source,
            rows=self.rows,
            counts=(*counts, *((),) * (len(gauges) - len(counts))),
            latents=Latents(
                sums=tuple(map(rounded, embedding.sum(axis=0).tolist())),
                squares=tuple(map(rounded, np.square(embedding).sum(axis=0).tolist())),
            ),
        )


class ErrorSample:
    """The inputs of the rows at `places` of a shard, gathered batch by batch, scored together."""

    def __init__(self, places: Places, scorer: Scorer) -> None:
        self._walk, self._scorer = _Walk(places), scorer
        self._rows = len(places)
        self._found: list[dict[str, npt.NDArray[Any]]] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in the next batch, which keeps the contract."""
        at = self._walk.next(batch.num_rows)
        if len(at):
            self._found.append(self._scorer.inputs(batch.take(arrow.numbers(at, pa.int64()))))

    def errors(self) -> npt.NDArray[np.float32]:
        """The reconstruction error of every gathered row, float32 [places]."""
        inputs = {
            name: np.concatenate([one[name] for one in self._found]) for name in self._found[0]
        }
        return self._scorer.score_inputs(inputs, rows=self._rows)


def profile_of(
    samples: Sequence[Sample],
    things: Sequence[Thing],
    *,
    labels: Mapping[str, Sequence[str]],
    rows: int,
) -> TrainingProfile:
    """The gauges of a training table of `rows` rows, and its counts, from `samples` of its blocks.

    `things` are what the samples hold; `labels` of the codes of a category by its column.
    """
    columns = zip(*(sample.values() for sample in samples), strict=True)
    gauges = tuple(
        _gauge(thing, np.concatenate(parts), labels.get(thing.column, ()))
        for thing, parts in zip(things, columns, strict=True)
    )
    blocks = tuple(one.block(gauges, source=f"block {i}") for i, one in enumerate(samples))
    dim = sum(thing.kind == "latent" for thing in things)
    counted = Counted(rows=rows, blocks=blocks)
    return TrainingProfile(format=FORMAT, gauges=gauges, dim=dim, training=counted)


def _gauge(thing: Thing, values: Values, labels: Sequence[str]) -> Gauge:
    """The gauge of a thing whose reference values are `values`; `labels` of codes by code."""
    if thing.kind == "category":
        codes = frequent_codes(values)
        shown = tuple(labels[code] if code < len(labels) else str(code) for code in codes)
        return Gauge(**thing._asdict(), codes=codes, labels=shown)
    edges = edges_of(values)
    if thing.kind == "timestamp":
        known = values[values != NULL_INT]
        edges = (float(known.min()),) if len(known) else ()
    return Gauge(**thing._asdict(), edges=edges)
