"""Trials: a destination made ready, something done to its writer, and what must hold afterwards.

A `Store` is the seam: trials know nothing of where versions are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pyarrow.parquet as pq

from harness import tree
from harness.process import Ended, Processes
from harness.reference import Version, World
from harness.soundness import UnsoundError, require_sound_content
from pipeline import verify


class Published(Protocol):
    """A version, or a bundle."""

    @property
    def run_id(self) -> str:
        """Its name."""


class Scene(Protocol):
    """What is there before, and the work that is about to be done."""

    @property
    def old(self) -> Published | None:
        """What readers see before."""

    @property
    def new(self) -> Published:
        """What they must see in the end."""

    @property
    def rival(self) -> Published | None:
        """What another writer may publish meanwhile."""

    @property
    def inputs(self) -> tuple[Path, ...]:
        """What the work reads."""

    def argv(self, destination: str) -> tuple[str, ...]:
        """The command that does the work."""


class Store(Protocol):
    """Where trials publish; a destination is what the command is given."""

    @property
    def world(self) -> Scene:
        """The work of every trial."""

    def fresh(self) -> str:
        """A new destination, as the world has it before."""

    def watched(self, destination: str) -> list[Path]:
        """Folders below which the shim meets calls."""

    def require_sound_content(self, content: tree.Tree) -> Published | None:
        """What readers of this content see.

        Raises:
            UnsoundError: if it is neither the old nor the new one whole, or anything published is
                not whole.
        """

    def require_sound(self, destination: str) -> Published | None:
        """The same of what is stored there now."""

    def require_nothing_left(self, destination: str) -> None:
        """No work in progress and no temporary names.

        Raises:
            UnsoundError: if there are.
        """

    def drop(self, destination: str) -> None:
        """Make room for the next trial."""


@dataclass(frozen=True)
class DiskStore:
    """Folders of this machine; `place` names one that is not there yet."""

    world: World
    place: Callable[[], Path]

    def fresh(self) -> str:
        """A folder that holds what the world has before, or none."""
        folder = self.place()
        return str(tree.save(self.world.before, folder) if self.world.before else folder)

    def watched(self, destination: str) -> list[Path]:
        """The destination."""
        return [Path(destination)]

    def require_sound_content(self, content: tree.Tree) -> Version | None:
        """Looks at names and bytes."""
        return require_sound_content(content, self.world)

    def require_sound(self, destination: str) -> Version | None:
        """Looks at names and bytes, then reads through Arrow and lets `verify` hash it all."""
        folder = Path(destination)
        seen = self.require_sound_content(tree.load(folder) if folder.exists() else {})
        if seen is not None:
            rows = pq.read_table(
                folder / "current", use_threads=False, page_checksum_verification=True
            )
            if not rows.equals(seen.table):
                raise UnsoundError(f"the rows under current are not those of {seen.run_id}")
            verify(folder)
        return seen

    def require_nothing_left(self, destination: str) -> None:
        """An empty stage, and nothing that ends in .tmp."""
        if not self.world.tidy:
            return
        folder = Path(destination)
        stage = folder / "_stage"
        left = [*stage.iterdir()] if stage.exists() else []
        left += [path for path in folder.rglob("*") if path.name.endswith(".tmp")]
        if left:
            raise UnsoundError(f"left behind: {', '.join(map(str, left))}")

    def drop(self, destination: str) -> None:
        """Remove the folder."""
        tree.remove(Path(destination))


def require_rerun_completes(processes: Processes, store: Store, destination: str) -> Ended:
    """The same command again publishes the new version and leaves nothing else behind.

    Raises:
        UnsoundError: if not.
    """
    ended = processes.run(*store.world.argv(destination))
    if ended.code != 0:
        raise UnsoundError(f"the rerun failed: {ended}")
    if store.require_sound(destination) is not store.world.new:
        raise UnsoundError("the rerun did not publish")
    store.require_nothing_left(destination)
    return ended


@dataclass
class Tally:
    """Trials, how often readers saw which version after them, and what was wrong."""

    world: Scene
    trials: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)

    @contextmanager
    def trial(self, told: object) -> Iterator[None]:
        """One trial; what goes wrong in it is noted, with what it was, and the next one goes on."""
        self.trials += 1
        try:
            yield
        except Exception as error:
            self.bad.append(f"{told}: {type(error).__name__}: {error}")

    def saw(self, version: Published | None) -> None:
        """Note what readers saw after the disturbance."""
        world = self.world
        names = {world.rival: "rival", world.old: "old", world.new: "new", None: "nothing"}
        self.seen[names[version]] += 1

    def __str__(self) -> str:
        seen = ", ".join(f"{count} {name}" for name, count in sorted(self.seen.items()))
        return f"{self.trials} trials, {len(self.bad)} bad; readers saw {seen or 'nothing'}"

    def require_none_bad(self) -> None:
        """Fails with the first few."""
        assert not self.bad, f"{len(self.bad)} bad:\n" + "\n".join(self.bad[:10])
