"""The power fails at any moment of a run: what was not synced may be lost, torn or out of order."""

from collections.abc import Callable
from pathlib import Path

from harness import oplog, tree
from harness.process import Processes
from harness.shim import WATCH
from harness.size import seeded, sizes, spread
from harness.soundness import UnsoundError
from harness.trial import Store, Tally, require_rerun_completes

SUBSETS = 12


def logged(processes: Processes, store: Store) -> tuple[Path, list[oplog.Operation]]:
    """The destination of an undisturbed run, and every operation on it and its own name."""
    to = Path(store.fresh())
    ended = processes.run(*store.world.argv(to), roots=[to.parent], plan=WATCH, log=True)
    assert ended.code == 0, ended
    return to, oplog.parse(ended.log)


def in_parent(name: str, content: tree.Tree) -> tree.Tree:
    """The folder that holds `content` under `name`, where there is any."""
    entries = {f"{name}/{path}": entry for path, entry in content.items()}
    return {name: tree.Folder(), **entries} if content else {}


def below(name: str, parent: tree.Tree) -> tree.Tree:
    start = f"{name}/"
    return {p.removeprefix(start): entry for p, entry in parent.items() if p.startswith(start)}


@sizes(14, 10**9)
def test_power_loss(
    processes: Processes, store: Store, figure: Callable[[object], None], size: int
) -> None:
    to, log = logged(processes, store)
    tally, chance = Tally(store.world), seeded("power loss")
    before = in_parent(to.name, store.world.before)
    found = list(oplog.states(str(to.parent), before, log, chance, subsets=SUBSETS))
    again = {number - 1 for number in spread(len(found), size)}
    for number, (done, parent) in enumerate(found):
        with tally.trial(f"after {done} operations, the last {log[done - 1] if done else None}"):
            content = below(to.name, parent)
            tally.saw(seen := store.require_sound_content(content))
            if done == len(log) and seen is not store.world.new:
                raise UnsoundError("the run had ended, and what it published is lost")
            if number in again:
                folder = store.place()
                destination = str(tree.save(parent, folder) / to.name)
                store.require_sound(destination)
                require_rerun_completes(processes, store, destination)
                tree.remove(folder)
    prefixes = len({done for done, _ in found})
    figure(f"{prefixes} moments of {len(log)} operations, {len(again)} reruns, {tally}")
    tally.require_none_bad()


def test_the_replay_of_a_whole_log_is_what_is_on_disk(processes: Processes, store: Store) -> None:
    to, log = logged(processes, store)
    disk = oplog.Disk(str(to.parent), in_parent(to.name, store.world.before))
    for operation in log:
        disk.apply(operation)
    replayed = disk.after_power_loss(disk.pending, "kept", seeded())
    assert below(to.name, replayed) == tree.load(to)
