"""What `monitor` notes beside the versions: whole or not there, and the same as undisturbed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness import tree
from harness.reference import DESTINATION, Version, World, published
from harness.soundness import UnsoundError
from harness.trial import DiskStore
from pipeline import MonitorJob, monitor
from pipeline.publishing import DRIFT

# What differs by where a destination lies.
PLACES = ("destination", "seal")


@dataclass(frozen=True)
class DriftStore(DiskStore):
    """Destinations whose last version is about to be compared with the one before.

    The world's `new` is the version with its note, `old` the same without. `notes` are what an
    undisturbed run left, by name.
    """

    notes: Mapping[str, object]

    def require_sound_content(self, content: tree.Tree) -> Version | None:
        """The version stands untouched, and no note is anything but one of an undisturbed run."""
        seen = super().require_sound_content(content)
        found = {n: read(n, entry) for n, entry in content.items() if is_note(n)}
        for name, note in found.items():
            if note != self.notes.get(name):
                raise UnsoundError(f"{name} is not as an undisturbed run noted it: {note!s:.80}")
        told = f"{DRIFT}/{self.world.new.run_id}.json" in found
        return seen and (self.world.new if told else self.world.old)

    def require_nothing_left(self, destination: str) -> None:
        """All notes are there; unfinished ones go when a run cleans up, some time later."""
        content = tree.load(Path(destination))
        if (found := {name for name in content if is_note(name)}) != self.notes.keys():
            raise UnsoundError(f"notes are {sorted(found)}, not {sorted(self.notes)}")


def is_note(name: str) -> bool:
    """Whether the file `name` is a note, as readers of them tell."""
    return name.startswith(f"{DRIFT}/") and not name.endswith(".tmp")


def read(name: str, entry: tree.Entry) -> object:
    """What a note says, wherever its destination lies."""
    if not isinstance(entry, bytes) or not name.endswith(".json"):
        return entry
    try:
        return {key: told for key, told in json.loads(entry).items() if key not in PLACES}
    except ValueError:
        raise UnsoundError(f"{name} is no JSON: {entry!r:.80}") from None


def monitoring(world: World, place: Callable[[], Path]) -> DriftStore:
    """`monitor` where the version before has been monitored."""
    world = published(world)
    assert world.older is not None
    folder = tree.save(world.before, place())
    monitor(MonitorJob(destination=str(folder), run=world.older.run_id))
    before = tree.load(folder)
    monitor(MonitorJob(destination=str(folder)))
    notes = {name: read(name, entry) for name, entry in tree.load(folder).items() if is_note(name)}
    command, old = ("monitor", DESTINATION), replace(world.new)
    world = replace(world, command=command, before=before, old=old, tidy=False)
    return DriftStore(world, place, notes)
