"""What a disk may hold after the power failed: every state that a log of operations allows.

The model is harsher than any one file system:

- bytes of a file are safe once the file was synced; of later writes all, none, zeros of the same
  length, or any sectors of 512 bytes may be there;
- a name (made, linked, renamed, removed) is safe once its folder was synced; of later changes to
  names any subset may be there, whatever their order; a rename is all or nothing, and safe once the
  folder it went to was synced.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal, TypeAlias

from harness.tree import Folder, Link, Tree

SECTOR = 512
Unsynced = Literal["kept", "lost", "zeros", "torn"]


@dataclass(frozen=True)
class Operation:
    """One logged call. Paths are absolute; of a symbolic link, `path` is the target."""

    name: str
    file: int
    number: int
    path: str
    other: str
    data: bytes


def parse(log: bytes) -> list[Operation]:
    """The operations of a log written by the shim."""
    found, start = [], 0
    while start < len(log):
        end = log.index(b"\n", start)
        name, file, number, path, other, length = log[start:end].decode().split("\t")
        start = end + 1 + int(length)
        found.append(Operation(name, int(file), int(number), path, other, log[end + 1 : start]))
    return found


@dataclass(eq=False)
class File:
    """Bytes as they are safe, and as a process sees them now."""

    safe: bytes = b""
    now: bytes = b""

    def write(self, offset: int, data: bytes) -> None:
        """Put `data` at `offset`."""
        head = self.now[:offset].ljust(offset, b"\0")
        self.now = head + data + self.now[offset + len(data) :]

    def after(self, unsynced: Unsynced, chance: random.Random) -> bytes:
        """The bytes after the power failed."""
        if unsynced == "kept" or self.now == self.safe:
            return self.now
        if unsynced == "lost":
            return self.safe
        sectors = []
        for at in range(0, len(self.now), SECTOR):
            new, old = self.now[at : at + SECTOR], self.safe[at : at + SECTOR]
            kept = unsynced == "torn" and chance.random() < 0.5
            sectors.append(new if kept or new == old else old.ljust(len(new), b"\0")[: len(new)])
        return b"".join(sectors)


@dataclass(eq=False)
class Names:
    """A folder: its names as they are now."""

    now: dict[str, Node] = field(default_factory=dict)


Node: TypeAlias = "File | Names | Link"
Place = tuple[Names, str]


@dataclass(frozen=True, eq=False)
class Rename:
    """A change of names that happens as a whole; `safe_with` is the folder whose sync saves it."""

    order: int
    effects: tuple[tuple[Place, Node | None], ...]
    safe_with: Names


class Disk:
    """A file system that remembers what is safe; feed it operations one by one."""

    def __init__(self, root: str, tree: Tree) -> None:
        self.root = PurePosixPath(root)
        self.top = Names()
        self.files: dict[int, Node] = {}
        self.pending: list[Rename] = []
        # Of each place: the number of the last safe change to it, and what it made of it.
        self.safe: dict[Place, tuple[int, Node | None]] = {}
        self._changes = 0
        for name, entry in sorted(tree.items()):
            if isinstance(entry, Folder):
                self._set(name, Names())
            else:
                self._set(name, entry if isinstance(entry, Link) else File(entry, entry))

    def apply(self, operation: Operation) -> None:
        """Do what the process did."""
        getattr(self, f"_{operation.name}")(operation)

    def _set(self, relative: str, node: Node) -> None:
        folder, name = self._place(str(self.root / relative))
        folder.now[name] = node
        self.safe[folder, name] = (0, node)

    def _place(self, path: str) -> Place:
        *folders, name = PurePosixPath(path).relative_to(self.root).parts
        folder = self.top
        for part in folders:
            found = folder.now[part]
            assert isinstance(found, Names), f"{path} goes through a file"
            folder = found
        return folder, name

    def _node(self, path: str) -> Node:
        if PurePosixPath(path) == self.root:
            return self.top
        folder, name = self._place(path)
        return folder.now[name]

    def _change(self, *effects: tuple[Place, Node | None]) -> None:
        """Change names; the last place says whose sync makes it safe."""
        for (folder, name), node in effects:
            if node is None:
                folder.now.pop(name, None)
            else:
                folder.now[name] = node
        self._changes += 1
        self.pending.append(Rename(self._changes, effects, effects[-1][0][0]))

    def _open(self, done: Operation) -> None:
        if PurePosixPath(done.path) == self.root:
            self.files[done.file] = self.top
            return
        folder, name = self._place(done.path)
        if name not in folder.now:
            self._change(((folder, name), File()))
        node = folder.now[name]
        if done.number & os.O_TRUNC and isinstance(node, File):
            node.now = b""
        self.files[done.file] = node

    def _close(self, done: Operation) -> None:
        del self.files[done.file]

    def _write(self, done: Operation) -> None:
        node = self.files[done.file]
        assert isinstance(node, File)
        node.write(done.number, done.data)

    def _truncate(self, done: Operation) -> None:
        node = self.files[done.file]
        assert isinstance(node, File)
        node.now = node.now[: done.number].ljust(done.number, b"\0")

    def _sync(self, done: Operation) -> None:
        node = self.files[done.file]
        if isinstance(node, File):
            node.safe = node.now
            return
        for change in [c for c in self.pending if c.safe_with is node]:
            self.pending.remove(change)
            self._settle(self.safe, change)

    @staticmethod
    def _settle(places: dict[Place, tuple[int, Node | None]], change: Rename) -> None:
        for place, node in change.effects:
            if places.get(place, (0, None))[0] <= change.order:
                places[place] = (change.order, node)

    def _mkdir(self, done: Operation) -> None:
        self._change((self._place(done.path), Names()))

    def _symlink(self, done: Operation) -> None:
        self._change((self._place(done.other), Link(done.path)))

    def _link(self, done: Operation) -> None:
        self._change((self._place(done.other), self._node(done.path)))

    def _unlink(self, done: Operation) -> None:
        self._change((self._place(done.path), None))

    _rmdir = _unlink

    def _rename(self, done: Operation) -> None:
        node = self._node(done.path)
        self._change((self._place(done.path), None), (self._place(done.other), node))

    def _exchange(self, done: Operation) -> None:
        one, other = self._place(done.path), self._place(done.other)
        self._change((one, self._node(done.other)), (other, self._node(done.path)))

    def after_power_loss(
        self, kept: list[Rename], unsynced: Unsynced, chance: random.Random
    ) -> Tree:
        """What is there when of all pending changes of names only those in `kept` happened."""
        places = dict(self.safe)
        for change in kept:
            self._settle(places, change)
        folders: dict[Names, dict[str, Node]] = {}
        for (folder, name), (_, node) in places.items():
            if node is not None:
                folders.setdefault(folder, {})[name] = node
        tree: Tree = {}
        self._walk(self.top, "", folders, tree, unsynced, chance)
        return tree

    def _walk(
        self,
        folder: Names,
        prefix: str,
        folders: dict[Names, dict[str, Node]],
        tree: Tree,
        unsynced: Unsynced,
        chance: random.Random,
    ) -> None:
        for name, node in sorted(folders.get(folder, {}).items()):
            if isinstance(node, File):
                tree[prefix + name] = node.after(unsynced, chance)
            elif isinstance(node, Link):
                tree[prefix + name] = node
            else:
                tree[prefix + name] = Folder()
                self._walk(node, f"{prefix}{name}/", folders, tree, unsynced, chance)


def outcomes(disk: Disk, chance: random.Random, *, subsets: int) -> Iterator[Tree]:
    """States after a power loss now: the telling ones, and `subsets` random ones."""
    pending = list(disk.pending)
    for unsynced in ("kept", "lost", "zeros", "torn"):
        yield disk.after_power_loss(pending, unsynced, chance)
        yield disk.after_power_loss([], unsynced, chance)
    for place, change in enumerate(pending):
        yield disk.after_power_loss([change], "lost", chance)
        yield disk.after_power_loss([change], "kept", chance)
        yield disk.after_power_loss(pending[:place] + pending[place + 1 :], "lost", chance)
        yield disk.after_power_loss(pending[:place], "lost", chance)
    for _ in range(subsets):
        some = [change for change in pending if chance.random() < 0.5]
        yield disk.after_power_loss(some, "torn", chance)


def states(
    root: str, before: Tree, log: list[Operation], chance: random.Random, *, subsets: int
) -> Iterator[tuple[int, Tree]]:
    """Every different state after a power loss, with the number of operations done before it."""
    disk, known = Disk(root, before), set()
    for done in range(len(log) + 1):
        if done:
            disk.apply(log[done - 1])
        for tree in outcomes(disk, chance, subsets=subsets):
            # The end counts apart: what was acknowledged must be there.
            mark = hash((frozenset(tree.items()), done == len(log)))
            if mark not in known:
                known.add(mark)
                yield done, tree
