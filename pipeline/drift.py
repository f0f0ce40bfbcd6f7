"""Drift: whether what a run computed is still like what its model was made from.

Every column, every latent and the reconstruction error are compared with the training table and
with the run before. What is told as drift is both larger than chance makes it anywhere (among all
columns and measures together, at one false alarm in `RUNS_PER_FALSE_ALARM` runs) and large enough
to matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline import distances
from pipeline.chance import FEWEST_BLOCKS, Chance, Spread, tilted
from pipeline.config import Config
from pipeline.drift_report import Against, ColumnDrift, Finding, Measure
from pipeline.profile import Block, Gauge, GaugeKind, RunProfile, together
from pipeline.progress import Progress, Silent

RUNS_PER_FALSE_ALARM = 1_000
# Earlier runs say how days differ once there are as many.
ENOUGH_RUNS = 8

Floats = npt.NDArray[np.float64]

# The smallest differences that matter, beyond what chance gives on average. PSI and KS: what
# practice calls a moderate change, and a number moved by a quarter of its standard deviation.
SMALLEST: dict[Measure, float] = {
    "PSI": 0.1,
    "KS": 0.1,
    "nulls": 0.02,
    "unknown": 0.01,
    "distance": 0.2,
}
EMBEDDING = "embedding"
# The standard deviation of a normal distribution in units of its median absolute deviation.
_MAD = 1.4826


class Earlier(Config):
    """An earlier run of the same model: its counts together, and how many files they are of."""

    run_id: str
    published: str
    drifted: bool
    files: float
    counted: Block


@dataclass(frozen=True)
class Group:
    """Counted rows to compare: their blocks, which witness as much as `files` equal ones."""

    blocks: tuple[Block, ...]
    files: float

    @classmethod
    def of(cls, blocks: Sequence[Block]) -> Group:
        """The group of some blocks, each of a file of its own."""
        return cls(tuple(blocks), files_of(blocks))

    def counts(self, gauge: int) -> Floats:
        """Counts of one gauge, [blocks that have any, cells]."""
        found = [block.counts[gauge] for block in self.blocks if block.counts[gauge]]
        return np.array(found, np.float64)


def files_of(blocks: Sequence[Block]) -> float:
    """How many files of equal size witness as much as `blocks`, which are of one file each."""
    rows = [float(block.rows) for block in blocks]
    return max(1.0, sum(rows) ** 2 / max(1.0, sum(row * row for row in rows)))


class _Comparison:
    """A run against one reference, with what chance alone would give."""

    def __init__(
        self, run: Group, reference: Group, alike: Sequence[Group], chance: Chance
    ) -> None:
        self._run, self._reference, self._alike = run, reference, alike
        self._chance = chance
        self._is_training = reference is alike[0]

    def gauge(self, place: int, gauge: Gauge) -> dict[Measure, _Drawn]:
        """Each measure of one gauge, and what it is when nothing has drifted."""
        now, before = self._run.counts(place), self._reference.counts(place)
        blocks = [counts for g in self._alike if len(counts := g.counts(place))]
        if not now.sum() or not before.sum() or not blocks:
            return {}
        ours, theirs = now.sum(axis=0), before.sum(axis=0)
        common = ours + theirs + (0 if self._is_training else blocks[0].sum(axis=0))
        spread = max(
            (Spread.of_counts(counts, ordered=gauge.ordered) for counts in blocks),
            key=lambda one: one.variance,
        )
        shares = common / common.sum()
        drawn = self._chance.counts(tilted(shares, self._moves(spread)), ours.sum())
        base = self._chance.counts(shares, theirs.sum())
        alone = self._chance.blocks(blocks[0])
        return {
            name: _Drawn(
                float(measure(ours, theirs)),
                measure(drawn, base),
                measure(*self._pairs(blocks[0])),
                measure(*self._pairs(alone)).ravel(),
            )
            for name, measure in _measures(gauge).items()
        }

    def _moves(self, spread: Spread) -> Floats:
        return self._chance.moves(spread, files=self._run.files, reference=self._reference.files)

    def _pairs(self, blocks: Floats) -> tuple[Floats, Floats]:
        """Blocks [..., B, K] to compare as the run is compared: with all, or with the next one."""
        if self._is_training:
            return blocks, blocks.sum(axis=-2, keepdims=True)
        return blocks[..., 1:, :], blocks[..., :-1, :]

    def embedding(self) -> _Drawn:
        """The distance of the embeddings, and what it is when nothing has drifted.

        It is that of Fréchet between two normal distributions without covariances, in standard
        deviations of the reference, as the root mean square over the dimensions.
        """
        ours, theirs = (_figures(together([*g.blocks])) for g in (self._run, self._reference))
        dim = len(theirs) // 2
        unit = np.maximum(np.tile(theirs[dim:], 2), 1e-9)
        variance = np.repeat([1.0, 0.5], dim)
        figures = [np.array([_figures(one) for one in g.blocks]) / unit for g in self._alike]
        rows = [np.array([float(one.rows) for one in g.blocks]) for g in self._alike]
        spread = max(
            (Spread.of_values(of, variance, n) for of, n in zip(figures, rows, strict=True)),
            key=lambda one: one.variance,
        )
        counted = sum(one.rows for one in self._run.blocks)
        known = sum(one.rows for one in self._reference.blocks)
        noise = np.sqrt(variance * (1 / max(1, counted) + 1 / max(1, known)))
        drawn = noise * self._chance.normal(2 * dim) + self._moves(spread)
        own, center = figures[0], theirs / unit
        apart = own - center if self._is_training else own[1:] - own[:-1]
        alone = self._chance.noise(variance, rows[0])
        parted = alone if self._is_training else alone[:, 1:] - alone[:, :-1]
        return _Drawn(
            float(_length((ours - theirs) / unit)),
            _length(drawn),
            _length(apart),
            _length(parted).ravel(),
        )


class _Drawn(NamedTuple):
    """A measured value; what it is in each draw, and among the blocks of training.

    `noise` is what it would be among them if they differed through their few rows alone.
    """

    value: float
    drawn: Floats
    files: Floats
    noise: Floats


def _length(moved: Floats) -> Floats:
    found: Floats = np.sqrt(np.square(moved).sum(axis=-1) / (moved.shape[-1] // 2))
    return found


def _figures(block: Block) -> Floats:
    """The mean of every dimension of the embedding, then its standard deviation, [2 · dim]."""
    rows = max(1, block.rows)
    mean = np.array(block.latents.sums) / rows
    spread = np.sqrt(np.maximum(np.array(block.latents.squares) / rows - mean**2, 0))
    return np.concatenate([mean, spread])


@dataclass(frozen=True)
class _Measured:
    """One measure of a column, and what chance gives: the average; mean, deviation of roots."""

    name: str
    measure: Measure
    against: Against
    value: float
    usual: float
    mean: float
    deviation: float

    def threshold(self, limit: float) -> float:
        """What is both `limit` deviations above what chance gives, and enough to matter."""
        surprising = _unrooted(self.measure, self.mean + limit * self.deviation)
        return max(surprising, self.usual + SMALLEST[self.measure])


class _Family:
    """All measures of all columns, and the largest surprise among them in each draw.

    A draw that is too small to matter raises no alarm, and is no surprise, however rare it is: a
    null in a column that has hardly any would otherwise decide how far all columns may lie off.
    """

    def __init__(self, draws: int) -> None:
        self._largest = np.full(draws, -np.inf)
        self._found: list[_Measured] = []

    def add(self, name: str, measure: Measure, against: Against, found: _Drawn) -> None:
        """Take in one measured value."""
        roots = _rooted(measure, found.drawn)
        mean, deviation = float(roots.mean()), float(roots.std())
        usual = float(found.drawn.mean())
        surprise = (roots - mean) / max(deviation, 1e-12)
        surprise[found.drawn <= usual + SMALLEST[measure]] = -np.inf
        self._largest = np.maximum(self._largest, surprise)
        if len(found.files) >= FEWEST_BLOCKS:
            # Where files hardly overlap, as in a column with one value a day, draws do not reach
            # what files do.
            files, noise = (_rooted(measure, one) for one in (found.files, found.noise))
            middle, width = _beyond(files, noise)
            mean, deviation = max(mean, middle), max(deviation, width)
        self._found.append(_Measured(name, measure, against, found.value, usual, mean, deviation))

    def _limit(self) -> float:
        """Deviations that nothing exceeds in all but one of `RUNS_PER_FALSE_ALARM` draws.

        No fewer than so many normal measures need that know nothing of each other: what files
        differ by is not in the draws.
        """
        rate = 1 / RUNS_PER_FALSE_ALARM
        drawn = float(np.quantile(self._largest, 1 - rate, method="higher"))
        return max(drawn, NormalDist().inv_cdf(1 - rate / max(1, len(self._found))))

    def findings(self) -> list[tuple[str, Finding]]:
        """Name of the column and finding of each measure."""
        limit = self._limit()
        told = []
        for one in self._found:
            threshold = one.threshold(limit)
            finding = Finding(
                measure=one.measure,
                against=one.against,
                value=_rounded(one.value),
                threshold=_rounded(threshold),
                excess=_rounded((one.value - one.usual) / (threshold - one.usual)),
                drifted=one.value > threshold,
            )
            told.append((one.name, finding))
        return told


def _beyond(files: Floats, noise: Floats) -> tuple[float, float]:
    """Mean and deviation of what blocks differ by, without the `noise` of their few rows.

    Both are robust: a file or two that are broken must not count.
    """
    (middle, width), (usual, noisy) = _robust(files), _robust(noise)
    if middle <= usual + noisy:
        return 0.0, 0.0
    return float(np.sqrt(middle**2 - usual**2)), float(np.sqrt(max(0.0, width**2 - noisy**2)))


def _robust(values: Floats) -> tuple[float, float]:
    middle = float(np.median(values))
    return middle, _MAD * float(np.median(np.abs(values - middle)))


def _rooted(measure: Measure, values: Floats) -> Floats:
    """PSI is a squared distance; its root has the tails that the others have."""
    return np.sqrt(np.maximum(values, 0)) if measure == "PSI" else values


def _unrooted(measure: Measure, value: float) -> float:
    return max(0.0, value) ** 2 if measure == "PSI" else value


def compare(
    profile: RunProfile,
    *,
    previous: Earlier | None,
    history: Sequence[Earlier],
    seed: int,
    progress: Progress | None = None,
) -> tuple[ColumnDrift, ...]:
    """What a run differs in from the training table and from the `previous` run, worst first.

    `history` are earlier runs in which nothing had drifted; those of many more files say nothing of
    how far one file may lie off.
    """
    run, training = Group.of(profile.run.blocks), Group.of(profile.training.blocks)
    alike = [one.counted for one in history if one.files <= 2 * run.files]
    spreads = [training, *([Group.of(alike)] if len(alike) >= ENOUGH_RUNS else [])]
    references: dict[Against, Group] = {"training": training}
    if previous is not None:
        references["previous run"] = Group((previous.counted,), previous.files)
    chance = Chance(seed=seed)
    family, told = _Family(chance.draws), progress or Silent()
    told.start("columns", len(references) * len(profile.gauges))
    for against, reference in references.items():
        comparison = _Comparison(run, reference, spreads, chance)
        for place, gauge in enumerate(profile.gauges):
            for measure, found in comparison.gauge(place, gauge).items():
                family.add(gauge.name, measure, against, found)
            told.advance(1)
        family.add(EMBEDDING, "distance", against, comparison.embedding())
    told.finish()
    return _told(profile.gauges, family.findings())


def _told(
    gauges: Sequence[Gauge], findings: Sequence[tuple[str, Finding]]
) -> tuple[ColumnDrift, ...]:
    kinds: dict[str, tuple[str, GaugeKind | Literal["embedding"]]] = {
        gauge.name: (gauge.column, gauge.kind) for gauge in gauges
    }
    kinds[EMBEDDING] = (EMBEDDING, "embedding")
    columns = []
    for name, (column, kind) in kinds.items():
        own = [finding for known, finding in findings if known == name]
        if own:
            columns.append(
                ColumnDrift(
                    name=name,
                    column=column,
                    kind=kind,
                    drifted=any(finding.drifted for finding in own),
                    excess=max(finding.excess for finding in own),
                    findings=tuple(own),
                )
            )
    return tuple(sorted(columns, key=lambda one: -one.excess))


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _measures(gauge: Gauge) -> dict[Measure, Callable[[Floats, Floats], Floats]]:
    if gauge.kind == "category" and not gauge.codes:
        # Text that hardly ever repeats: of new rows every value is new, and that says nothing.
        return {"nulls": distances.nulls}
    found: dict[Measure, Callable[[Floats, Floats], Floats]] = {"PSI": distances.psi}
    if gauge.ordered:
        found["KS"] = distances.ks
    found["nulls"] = distances.nulls
    if gauge.kind == "category":
        found["unknown"] = distances.unknown
    return found
