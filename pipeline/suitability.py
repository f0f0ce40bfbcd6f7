"""Whether a model suits what is embedded: its training table beside the rows of the newest run.

Two models count in cells of their own. Counts of the candidate's table are moved into the cells of
the run as near to the run's as they may have been, so that cells alone never look like drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.bundle import Bundle
from pipeline.config import Config
from pipeline.destinations import open_destination
from pipeline.drift import EMBEDDING, SMALLEST, compare
from pipeline.drift_report import Measure
from pipeline.files import holds
from pipeline.monitoring import run_profile
from pipeline.profile import (
    TRAINING_PROFILE,
    Block,
    Counted,
    Gauge,
    Latents,
    RunProfile,
    TrainingProfile,
    read_training,
)
from pipeline.publishing import MARK

_OF_THE_MODEL = ("latent", "reconstruction error")
_OTHER = 2
_NO_LATENTS = Latents(sums=(0.0,), squares=(0.0,))

Floats = npt.NDArray[np.float64]
Counts = tuple[int, ...]


class Farther(Config):
    """A column in which the candidate's table lies farther from the run than the current one's.

    `measure` is the one by which it does so most.
    """

    column: str
    measure: Measure
    candidate: float
    current: float

    @property
    def excess(self) -> float:
        """By how many of the smallest differences that matter."""
        return (self.candidate - self.current) / SMALLEST[self.measure]


def newest_profile(destination: str) -> RunProfile | None:
    """The profile of the newest run that computed rows; None if there is none.

    Raises:
        DestinationError: if it is damaged.
    """
    if not holds(destination, MARK):
        return None
    opened = open_destination(destination)
    found = (run_profile(opened, manifest) for manifest in reversed(opened.published()))
    return next((profile for profile in found if profile is not None), None)


def farther(candidate: Bundle, run: RunProfile) -> tuple[Farther, ...] | None:
    """Columns in which the table of `candidate` drifts from the rows of `run`, the worst first.

    Only those count in which the table of the run's own model does not lie as far off: where the
    rows themselves have drifted, a model that is nearer to them is an improvement. None where there
    is nothing to compare.

    Raises:
        BundleError: if the candidate's profile is damaged.
    """
    if not candidate.has(TRAINING_PROFILE):
        return None
    path = f"{candidate.path}/{TRAINING_PROFILE}"
    profile = read_training(candidate.read(TRAINING_PROFILE), path=path)
    shared = _shared(profile.gauges, run.gauges)
    if not shared:
        return None
    known = _drifts(run, run, shared)
    found: dict[str, Farther] = {}
    for (name, measure), (value, drifted) in _drifts(profile, run, shared).items():
        before, _ = known.get((name, measure), (0.0, False))
        one = Farther(column=name, measure=measure, candidate=value, current=before)
        if drifted and one.excess > max(1.0, found[name].excess if name in found else 0.0):
            found[name] = one
    return tuple(sorted(found.values(), key=lambda one: -one.excess))


@dataclass(frozen=True)
class _Pair:
    """One thing that both models count: its place and gauge in each, and the gauge of both."""

    mine: int
    theirs: int
    gauge: Gauge


def _shared(mine: Sequence[Gauge], theirs: Sequence[Gauge]) -> list[_Pair]:
    """What both count of the columns of the table."""
    places = {(gauge.name, gauge.kind): place for place, gauge in enumerate(mine)}
    found = []
    for place, gauge in enumerate(theirs):
        own = places.get((gauge.name, gauge.kind))
        if own is not None and gauge.kind not in _OF_THE_MODEL:
            found.append(_Pair(own, place, _common(mine[own], gauge)))
    return found


def _common(mine: Gauge, theirs: Gauge) -> Gauge:
    if theirs.kind != "category":
        return theirs
    labels = tuple(label for label in theirs.labels if label in mine.labels)
    return theirs.model_copy(update={"labels": labels, "codes": tuple(range(len(labels)))})


def _drifts(
    table: TrainingProfile, run: RunProfile, shared: Sequence[_Pair]
) -> dict[tuple[str, Measure], tuple[float, bool]]:
    """How far the training rows of `table` are from the rows of `run`, by gauge and measure."""
    own = table is run
    now = [_total(run.run.blocks, pair.theirs) for pair in shared]
    known = tuple(
        _block(
            block,
            tuple(
                _moved(
                    block.counts[pair.theirs if own else pair.mine],
                    table.gauges[pair.theirs if own else pair.mine],
                    pair.gauge,
                    near=counts,
                )
                for pair, counts in zip(shared, now, strict=True)
            ),
        )
        for block in table.training.blocks
    )
    blocks = tuple(
        _block(
            block,
            tuple(
                _moved(block.counts[p.theirs], run.gauges[p.theirs], p.gauge, near=())
                for p in shared
            ),
        )
        for block in run.run.blocks
    )
    profile = RunProfile(
        format=run.format,
        gauges=tuple(pair.gauge for pair in shared),
        dim=1,
        training=Counted(rows=table.training.rows, blocks=known),
        model=run.model,
        run=Counted(rows=run.run.rows, blocks=blocks),
    )
    found = compare(profile, previous=None, history=(), seed=0)
    return {
        (column.name, finding.measure): (finding.value, finding.drifted)
        for column in found
        for finding in column.findings
        if column.name != EMBEDDING
    }


def _block(block: Block, counts: tuple[Counts, ...]) -> Block:
    return block.model_copy(update={"counts": counts, "latents": _NO_LATENTS})


def _total(blocks: Sequence[Block], place: int) -> Counts:
    """Counts of one gauge in all blocks; none where it was not used."""
    found = [block.counts[place] for block in blocks if block.counts[place]]
    return tuple(map(sum, zip(*found, strict=True)))


def _moved(counts: Counts, gauge: Gauge, to: Gauge, *, near: Counts) -> Counts:
    """`counts` in the cells of `gauge`, in those of `to`."""
    if not counts:
        return counts
    if to.kind == "category":
        return _by_label(counts, gauge, to)
    return (
        counts if gauge.edges == to.edges or not to.ordered else _by_edges(counts, gauge, to, near)
    )


def _by_label(counts: Counts, gauge: Gauge, to: Gauge) -> Counts:
    """What only one of two models knows, or calls frequent, is neither new nor frequent."""
    named = dict(zip(gauge.labels, counts[_OTHER + 1 :], strict=True))
    kept = [named.get(label, 0) for label in to.labels]
    other = sum(counts[1:]) - sum(kept)
    return (counts[0], 0, other, *kept)


def _by_edges(counts: Counts, gauge: Gauge, to: Gauge, near: Counts) -> Counts:
    """Of a cell that an edge divides, as much lies below that edge as is nearest to `near`."""
    edges, below = np.array(gauge.edges), np.concatenate([[0], np.cumsum(counts[1:])])
    total = below[-1]
    wanted = np.array(to.edges)
    least = below[np.searchsorted(edges, wanted, side="right")]
    most = below[np.minimum(np.searchsorted(edges, wanted, side="left") + 1, len(below) - 1)]
    shares = np.cumsum(near[1:])[:-1] / max(1, sum(near[1:])) if near else np.zeros(len(wanted))
    parts = np.rint(np.clip(shares * total, least, most)).astype(np.int64)
    cells = np.diff(np.concatenate([[0], parts, [total]]))
    return (counts[0], *(int(cell) for cell in cells))
