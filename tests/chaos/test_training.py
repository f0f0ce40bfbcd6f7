"""kill -9 while a model is trained and written: no half bundle, and the rerun gives the same."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.bundles import BundleStore, BundleWorld, Sealed
from harness.process import KILLED, Processes
from harness.reference import World
from harness.shim import WATCH, Mode, Plan
from harness.size import seeded, spread
from harness.trial import Tally, require_rerun_completes

IMPORTS = ("flows.verbs", "training.fit", "export.package", "torch.onnx", "onnxscript")
KILLS = (Mode.KILL_BEFORE, Mode.KILL_HALF, Mode.KILL_AFTER)
SETTINGS = """
[train]
source = "{source}"
key = ["row_id"]
ignore = ["event_time"]
recipe = "{recipe}"
dim = 2
[train.training]
steps = 60
evaluate_every = 30
checkpoint_every = 3
"""


@pytest.fixture(scope="module")
def trainers(library: Path, scratch: Path) -> Iterator[Processes]:
    """Processes that have imported torch as well."""
    folder = scratch / "trainers"
    folder.mkdir()
    server = Processes(library, folder, IMPORTS)
    yield server
    server.close()


@pytest.fixture(scope="module", params=["linear", "denoising"])
def training(
    request: pytest.FixtureRequest, trainers: Processes, world: World, scratch: Path
) -> BundleWorld:
    """A training that was never disturbed."""
    folder = scratch / f"trained-{request.param}"
    folder.mkdir()
    config = folder / "parquet2vec.toml"
    config.write_text(SETTINGS.format(source=world.source, recipe=request.param))
    command = ("train", "--config", str(config), "--out")
    ended = trainers.run(*command, folder / "model")
    assert ended.code == 0, ended
    return BundleWorld(command, (world.source,), {}, None, Sealed.at(folder / "model"))


@pytest.mark.chaos
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("size", [16])
def test_training_crash_points(
    trainers: Processes,
    training: BundleWorld,
    place: Callable[[], Path],
    figure: Callable[[object], None],
    size: int,
) -> None:
    store, tally = BundleStore(training, place), Tally(training)
    to = store.fresh()
    whole = trainers.run(*training.argv(to), roots=store.watched(to), plan=WATCH)
    assert (whole.code, store.require_sound(to)) == (0, training.new), whole
    points = spread(whole.calls, size)
    for at in points:
        plan, to = Plan(seeded(at).choice(KILLS), WATCH.mask, at), store.fresh()
        ended = trainers.run(*training.argv(to), roots=store.watched(to), plan=plan)
        with tally.trial(plan):
            assert ended.code == KILLED, ended
            tally.saw(store.require_sound(to))
            require_rerun_completes(trainers, store, to)
        store.drop(to)
    figure(f"{len(points)}/{whole.calls} points, {tally}")
    tally.require_none_bad()
