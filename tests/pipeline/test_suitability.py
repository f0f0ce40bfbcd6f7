"""Whether a model suits what is embedded: counts of its table beside those of the newest run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.bundle import Bundle
from pipeline.profile import FORMAT, Block, Counted, Gauge, Latents, RunProfile, TrainingProfile
from pipeline.suitability import Farther, farther, newest_profile

CITIES = ("paris", "rome", "oslo", "bern")


class _Bundle:
    """A bundle that holds a profile and nothing else."""

    path = Path("model")

    def __init__(self, profile: TrainingProfile | None) -> None:
        self._profile = profile

    def has(self, name: str) -> bool:
        return self._profile is not None and name == "profile.json"

    def read(self, name: str) -> bytes:
        assert self._profile is not None
        return self._profile.to_bytes()


def gauges(values: np.ndarray, cities: tuple[str, ...], cells: int) -> tuple[Gauge, ...]:
    """A number, a category and a latent, counted as a model of these values would."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, cells)))
    return (
        Gauge(name="x", column="x", kind="number", edges=tuple(map(float, edges))),
        Gauge(
            name="city", column="city", kind="category",
            labels=cities, codes=tuple(range(3, 3 + len(cities))),
        ),
        Gauge(name="z", column="z", kind="latent", edges=(0.0,)),
    )  # fmt: skip


def counted(
    known: tuple[Gauge, ...], values: np.ndarray, cities: np.ndarray, *, blocks: int = 8
) -> Counted:
    """Rows in the cells of `known`; NaN is null."""
    found = []
    for place, (part, names) in enumerate(
        zip(np.array_split(values, blocks), np.array_split(cities, blocks), strict=True)
    ):
        edges, labels = known[0].edges, known[1].labels
        there = part[np.isfinite(part)]
        cells = np.bincount(np.searchsorted(edges, there, "right"), minlength=len(edges) + 1)
        codes = [sum(~np.isin(names, labels)), 0, *(sum(names == label) for label in labels)]
        numbers = (int(np.isnan(part).sum()), *map(int, cells))
        counts = (numbers, (0, *map(int, codes)), (0, len(part), 0))
        latents = Latents(sums=(0.0, 0.0), squares=(1.0, 1.0))
        found.append(Block(source=f"{place}", rows=len(part), counts=counts, latents=latents))
    return Counted(rows=len(values), blocks=tuple(found))


def table(
    seed: int, *, shift: float = 0.0, nulls: float = 0.0, rows: int = 4_000, whole: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    values = random.normal(shift, 1.0, rows)
    values = np.round(values) if whole else values
    values[random.random(rows) < nulls] = np.nan
    return values, random.choice(CITIES, rows, p=[0.4, 0.3, 0.2, 0.1])


def model(
    rows: tuple[np.ndarray, np.ndarray], *, cities: tuple[str, ...] = CITIES, cells: int = 20
) -> TrainingProfile:
    known = gauges(rows[0][np.isfinite(rows[0])], cities, cells)
    return TrainingProfile(format=FORMAT, gauges=known, dim=2, training=counted(known, *rows))


def run(of: TrainingProfile, rows: tuple[np.ndarray, np.ndarray]) -> RunProfile:
    known = counted(of.gauges, *rows)
    said = {"format": FORMAT, "gauges": of.gauges, "dim": 2, "training": of.training}
    return RunProfile.model_validate(said | {"model": "m", "run": known})


def found(candidate: TrainingProfile | None, run: RunProfile) -> tuple[Farther, ...] | None:
    return farther(_Bundle(candidate), run)  # type: ignore[arg-type]


@pytest.mark.parametrize(("cells", "whole"), [(5, False), (33, False), (9, True)])
def test_a_table_like_the_last_suits_whatever_its_cells_are(cells: int, whole: bool) -> None:
    current = model(table(0, whole=whole))
    embedded = run(current, table(1, whole=whole))
    assert found(model(table(2, whole=whole), cells=cells), embedded) == ()


def test_what_only_one_model_calls_frequent_is_no_drift() -> None:
    embedded = run(model(table(0), cities=CITIES[:2]), table(1))
    assert found(model(table(2), cities=CITIES[1:]), embedded) == ()


def test_a_broken_join_in_the_table_that_was_learnt_from_is_found() -> None:
    embedded = run(model(table(0)), table(1))
    (told,) = found(model(table(2, nulls=0.6)), embedded) or ()
    assert told.column == "x"
    assert told.candidate > 0.5
    assert told.current < 0.1


def test_a_shifted_column_in_the_table_that_was_learnt_from_is_found() -> None:
    embedded = run(model(table(0)), table(1))
    assert {one.column for one in found(model(table(2, shift=1.0)), embedded) or ()} == {"x"}


def test_other_shares_of_categories_are_found() -> None:
    values, cities = table(2)
    embedded = run(model(table(0)), table(1))
    told = found(model((values, np.where(cities == "paris", "oslo", cities))), embedded)
    assert {one.column for one in told or ()} == {"city"}


def test_a_model_of_rows_that_have_drifted_since_suits_them_better() -> None:
    embedded = run(model(table(0)), table(1, shift=1.0))
    assert found(model(table(2, shift=1.0)), embedded) == ()
    assert found(model(table(2, shift=0.5)), embedded) == ()


def test_without_a_profile_or_a_shared_column_nothing_is_compared() -> None:
    current = model(table(0))
    embedded = run(current, table(1))
    assert found(None, embedded) is None
    renamed = [gauge.model_copy(update={"name": f"{gauge.name}'"}) for gauge in current.gauges]
    assert found(current.model_copy(update={"gauges": tuple(renamed)}), embedded) is None


def test_a_destination_without_a_run_has_no_newest_profile(tmp_path: Path) -> None:
    assert newest_profile(str(tmp_path / "nowhere")) is None


def test_a_bundle_without_a_profile_is_a_bundle(
    bundle: Bundle, make_table: Callable[..., Any]
) -> None:
    assert farther(bundle, run(model(table(0)), table(1))) is None
