"""A folder's content in memory: kept before a trial, compared after it, written from a replay."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Folder:
    """A folder; what it holds has entries of its own."""


Entry: TypeAlias = "bytes | Link | Folder"
Tree = dict[str, Entry]


def load(root: Path) -> Tree:
    """Everything below `root`, by relative path."""
    found: Tree = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = Link(str(path.readlink()))
        else:
            found[name] = Folder() if path.is_dir() else path.read_bytes()
    return found


def save(tree: Tree, root: Path) -> Path:
    """Make `root`, which must not exist, hold `tree`."""
    root.mkdir(parents=True)
    for name, entry in sorted(tree.items()):
        path = root / name
        if isinstance(entry, Folder):
            path.mkdir()
        elif isinstance(entry, Link):
            path.symlink_to(entry.target)
        else:
            path.write_bytes(entry)
    return root


def remove(folder: Path) -> None:
    """Delete a folder, if it is there."""
    if folder.exists():
        shutil.rmtree(folder)
