"""The third thing that is published: a model in a registry, in production instead of another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from harness import tree
from harness.bundles import BundleWorld, Sealed, hashes
from harness.soundness import UnsoundError
from pipeline import Bundle
from pipeline.lineage import Lineage
from pipeline.publishing import Pointer
from pipeline.registries import clean, open_registry

OLDEST, OLD, NEW = "a", "b", "c"
ALIASES = ("production", "candidate")


def release(bundle: str, models: str, version: str = NEW) -> None:
    """Register a bundle, let aliases lead to it, delete old ones; what a trial's process runs."""
    registry = open_registry(models, create=True)
    lineage = Lineage(
        version=version, bundle="f" * 64, code="1", at=datetime(2026, 1, 1, tzinfo=UTC), by="me"
    )
    registry.add(Path(bundle), lineage)
    for name in reversed(ALIASES):
        seen = registry.alias(name)
        pointer = Pointer(run_id=version, why="better")
        if seen != pointer:
            registry.move(name, pointer, expected=seen)
    clean(registry, keep=1, grace="0s")


@dataclass(frozen=True)
class ModelStore:
    """Registries on disk, each in a folder of its own.

    The world's `old` is in production, after an oldest one which goes when `new` is released.
    """

    world: BundleWorld
    place: Callable[[], Path]

    def fresh(self) -> str:
        """A registry with two versions, or none."""
        folder = self.place()
        return str(tree.save(self.world.before, folder) if self.world.before else folder)

    def watched(self, destination: str) -> list[Path]:
        """The registry."""
        return [Path(destination)]

    def require_sound_content(self, content: tree.Tree) -> Sealed | None:
        """Aliases lead to whole versions, and whatever is called a version is one."""
        for name in {path.split("/")[1] for path in content if path.startswith("versions/")}:
            if not name.startswith("."):
                _whole(content, name, self.world)
        seen: dict[str, Sealed] = {}
        for alias in ALIASES:
            link = content.get(alias, tree.Link(""))
            if not isinstance(link, tree.Link):
                raise UnsoundError(f"{alias} is no link")
            if link.target:
                seen[alias] = _whole(content, link.target.removeprefix("versions/"), self.world)
        return seen.get("production")

    def require_sound(self, destination: str) -> Sealed | None:
        """The same on disk, production opens, and its history says where it leads."""
        folder = Path(destination)
        seen = self.require_sound_content(tree.load(folder) if folder.exists() else {})
        if seen is not None:
            if Bundle.open(folder / "production").fingerprint != seen.run_id:
                raise UnsoundError(f"{folder}/production opens as another bundle")
            pointer, link = open_registry(folder).alias("production"), folder / "production"
            if pointer is None or pointer.run_id != link.readlink().name:
                raise UnsoundError(f"{link} leads to {link.readlink()}, not to {pointer}")
        return seen

    def require_nothing_left(self, destination: str) -> None:
        """Nothing that was to be deleted, and nothing half written, is called a version."""
        folder = Path(destination)
        if left := [path.name for path in (folder / "versions").glob(".*")]:
            raise UnsoundError(f"left behind: {left}")
        if (folder / "versions" / OLDEST).exists():
            raise UnsoundError("the oldest version was not deleted")
        aliases = [path for name in ALIASES for path in folder.glob(f"{name}.*")]
        if left := [*aliases, *(folder / "_moves").glob("*.tmp")]:
            raise UnsoundError(f"left behind: {', '.join(map(str, left))}")

    def drop(self, destination: str) -> None:
        """Remove the folder."""
        tree.remove(Path(destination))


def make_model_world(folder: Path, bundles: BundleWorld) -> BundleWorld:
    """The newer of `bundles` about to be released after the older one."""
    command = ("harness.models:release", str(bundles.inputs[0]))
    older = tree.save(bundles.before, folder / "older")
    for version in (OLDEST, OLD):
        release(str(older), str(folder / "models"), version)
    return replace(bundles, command=command, before=tree.load(folder / "models"))


def _whole(content: tree.Tree, version: str, world: BundleWorld) -> Sealed:
    start = f"versions/{version}/"
    files = {p.removeprefix(start): entry for p, entry in content.items() if p.startswith(start)}
    sealed = world.new if version == NEW else world.old
    if sealed is None or hashes(files) != sealed.files:
        raise UnsoundError(f"version {version} has {sorted(files)}, not the files that were sealed")
    return sealed
