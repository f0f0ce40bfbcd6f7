"""The other thing that is published: a bundle, replaced as a whole by another one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from harness import tree
from harness.soundness import UnsoundError
from pipeline import Bundle
from pipeline.bundle import REPORT


def rewrite(source: str, destination: str) -> None:
    """Write the bundle at `source` to `destination`; what a trial's process runs."""
    bundle = Bundle.open(source)
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    Bundle.write(destination, manifest=bundle.manifest, files=files)


@dataclass(frozen=True, eq=False)
class Sealed:
    """A bundle as it must be: SHA-256 of each file by name."""

    run_id: str
    files: dict[str, str]

    @classmethod
    def at(cls, folder: Path) -> Sealed:
        """The bundle in `folder`."""
        return cls(Bundle.open(folder).fingerprint, hashes(tree.load(folder)))


@dataclass(frozen=True, eq=False)
class BundleWorld:
    """A bundle about to be written where `old` stands, or nothing.

    `command` writes `new`; it is given the destination as its last word.
    """

    command: tuple[str, ...]
    inputs: tuple[Path, ...]
    before: tree.Tree
    old: Sealed | None
    new: Sealed
    rival: Sealed | None = None

    def argv(self, destination: str | Path) -> tuple[str, ...]:
        """What writes `new`."""
        return (*self.command, str(destination))


def make_bundle_world(folder: Path, bundle: Path) -> BundleWorld:
    """`bundle`, and an older one that differs from it in every file but one."""
    opened = Bundle.open(bundle)
    files = {name: opened.read(name) for name in opened.manifest.files if "lookup" not in name}
    manifest = opened.manifest.model_copy(update={"recipe": "older"})
    old = Bundle.write(folder, manifest=manifest, files=files | {"spec.json": b"{}"}).path
    command = ("harness.bundles:rewrite", str(bundle))
    return BundleWorld(command, (bundle,), tree.load(old), Sealed.at(old), Sealed.at(bundle))


def hashes(content: tree.Tree) -> dict[str, str]:
    """SHA-256 of the sealed files of a bundle, by name; its report is not sealed."""
    found = {name: data for name, data in content.items() if isinstance(data, bytes)}
    sealed = {name: data for name, data in found.items() if not name.startswith(f"{REPORT}/")}
    return {name: hashlib.sha256(data).hexdigest() for name, data in sealed.items()}


@dataclass(frozen=True)
class BundleStore:
    """Bundles on disk, each in a folder of its own, where nothing else may be left."""

    world: BundleWorld
    place: Callable[[], Path]

    def fresh(self) -> str:
        """Where a bundle is, or is to be."""
        folder = self.place()
        folder.mkdir()
        destination = folder / "model"
        return str(tree.save(self.world.before, destination) if self.world.before else destination)

    def watched(self, destination: str) -> list[Path]:
        """The folder around the bundle: the new one is made ready beside it."""
        return [Path(destination).parent]

    def require_sound_content(self, content: tree.Tree) -> Sealed | None:
        """The old bundle or the new, with all its files and no other."""
        if not content and self.world.old is None:
            return None
        for sealed in (self.world.old, self.world.new):
            if sealed is not None and hashes(content) == sealed.files:
                return sealed
        raise UnsoundError(f"found {sorted(content)}, neither the old bundle nor the new")

    def require_sound(self, destination: str) -> Sealed | None:
        """The same on disk, and it opens."""
        folder = Path(destination)
        seen = self.require_sound_content(tree.load(folder) if folder.exists() else {})
        if seen is not None and Bundle.open(folder).fingerprint != seen.run_id:
            raise UnsoundError(f"{folder} opens as another bundle")
        return seen

    def require_nothing_left(self, destination: str) -> None:
        """Nothing beside the bundle."""
        folder = Path(destination)
        if left := [path.name for path in folder.parent.iterdir() if path != folder]:
            raise UnsoundError(f"left behind: {left}")

    def drop(self, destination: str) -> None:
        """Remove the folder around it."""
        tree.remove(Path(destination).parent)


def first_bundle(world: BundleWorld) -> BundleWorld:
    """The same bundle, to a folder that is not there yet."""
    return replace(world, before={}, old=None)
