"""Many small files, killed again and again while they are embedded: every row once, same bytes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from harness.process import KILLED, Processes
from harness.reference import SMALL, World, hashes, sha256
from harness.size import seeded, sizes

from pipeline.profile import RUN_PROFILE

KILLS = 10


@pytest.fixture
def many(place: Callable[[], Path], size: int) -> Path:
    """`size` files of twenty rows, some thousand of which are copies of the same ones."""
    folder = place()
    folder.mkdir()
    for index in range(size):
        path = folder / f"part-{index:05d}.parquet"
        if index < 50:
            pq.write_table(SMALL.table(20, seed=index), path)
        else:
            shutil.copyfile(folder / f"part-{index % 50:05d}.parquet", path)
    return folder


@sizes(40, 2000)
def test_soak(
    processes: Processes,
    world: World,
    many: Path,
    place: Callable[[], Path],
    figure: Callable[[object], None],
    size: int,
) -> None:
    whole, to, chance, kills, seconds = place(), place(), seeded("soak"), 0, list[float]()

    def argv(destination: Path) -> tuple[object, ...]:
        return ("embed", world.bundle, many, destination, "--threads", 2)

    undisturbed = processes.run(*argv(whole))
    assert undisturbed.code == 0, undisturbed
    while kills < KILLS:
        # Short enough that ten kills fit before the resumed work is done.
        ended = processes.start(*argv(to)).wait(
            kill_after=undisturbed.seconds * chance.uniform(0.05, 0.25)
        )
        seconds.append(ended.seconds)
        kills += ended.code == KILLED
        if ended.code != KILLED:
            break
        assert not (to / "current").exists() or hashes(to / "current") == hashes(whole / "current")
    ended = processes.run(*argv(to))
    assert ended.code == 0, ended
    assert hashes(to / "current") == hashes(whole / "current")
    assert sha256(to / "current" / RUN_PROFILE) == sha256(whole / "current" / RUN_PROFILE)
    assert not list((to / "_stage").iterdir())
    rows = pq.read_table(to / "current", columns=["row_id"]).num_rows
    figure(
        f"{size} files, {rows} rows, {kills} kills; {undisturbed.seconds:.1f} s undisturbed, "
        f"{sum(seconds):.1f} s until the last kill and {ended.seconds:.1f} s after it"
    )
    assert (rows, kills > 0) == (20 * size, True)
