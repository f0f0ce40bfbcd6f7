"""A disk that can be broken, a world that was never broken, and the figures at the end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness import shim
from harness.bundles import BundleStore, BundleWorld, first_bundle, make_bundle_world
from harness.drift import monitoring
from harness.models import ModelStore, make_model_world
from harness.process import Processes
from harness.reference import (
    World,
    cleaning,
    first_publication,
    make_rivals,
    make_world,
    rolling_back,
)
from harness.size import SEED
from harness.trial import DiskStore, Store

FIGURE = "chaos figure"
# Bytes: a container may have next to nothing there.
ROOM = 256 * 2**20


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one: what a sync does is replayed, not measured."""
    memory = Path("/dev/shm")
    usable = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM
    base = memory if usable else None
    folder = Path(tempfile.mkdtemp(prefix="p2v-chaos-", dir=base))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def library(scratch: Path) -> Path:
    """The shim, compiled."""
    if reason := shim.missing():
        pytest.skip(reason)
    return shim.compile_shim(scratch)


@pytest.fixture(scope="session")
def processes(library: Path, scratch: Path) -> Iterator[Processes]:
    """Starts commands that can be watched, broken and killed."""
    folder = scratch / "processes"
    folder.mkdir()
    server = Processes(library, folder)
    yield server
    server.close()


@pytest.fixture(scope="session")
def world(scratch: Path) -> World:
    """A job about to publish over two older versions."""
    return make_world(scratch / "world")


@pytest.fixture(scope="session")
def rivals(world: World) -> tuple[World, World]:
    """Two jobs about to publish to the same destination."""
    return make_rivals(world)


@pytest.fixture
def place(scratch: Path) -> Iterator[Callable[[], Path]]:
    """Names folders that are not there yet; they are gone after the test."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    folder.chmod(0o777)
    count = iter(range(1_000_000))
    yield lambda: folder / f"to-{next(count)}"
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def bundles(world: World, scratch: Path) -> BundleWorld:
    """A bundle about to replace another one."""
    return make_bundle_world(scratch / "older-bundle", world.bundle)


@pytest.fixture(scope="session")
def models(bundles: BundleWorld, scratch: Path) -> BundleWorld:
    """A model about to go to production instead of another one."""
    return make_model_world(scratch / "registry", bundles)


@pytest.fixture(
    params=[
        "embed",
        "embed-first",
        "gc",
        "rollback",
        "monitor",
        "bundle",
        "bundle-first",
        "models",
        "models-first",
    ]
)
def store(
    request: pytest.FixtureRequest,
    world: World,
    bundles: BundleWorld,
    models: BundleWorld,
    place: Callable[[], Path],
) -> Store:
    """Whatever changes what readers see, on disk; `first` is to a folder that is not there yet."""
    stores: dict[str, Callable[[], Store]] = {
        "embed": lambda: DiskStore(world, place),
        "embed-first": lambda: DiskStore(first_publication(world), place),
        "gc": lambda: DiskStore(cleaning(world), place),
        "rollback": lambda: DiskStore(rolling_back(world), place),
        "monitor": lambda: monitoring(world, place),
        "bundle": lambda: BundleStore(bundles, place),
        "bundle-first": lambda: BundleStore(first_bundle(bundles), place),
        "models": lambda: ModelStore(models, place),
        "models-first": lambda: ModelStore(replace(models, before={}, old=None), place),
    }
    return stores[request.param]()


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[object], None]:
    """Notes a line for the end of the run."""

    def note(line: object) -> None:
        name = request.node.name.removeprefix("test_").replace("_", " ")
        request.node.user_properties.append((FIGURE, f"{name}: {line}"))

    return note


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The figures of every suite that ran; notes travel with the reports, so xdist keeps them."""
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, [])]
    lines = [text for r in reports for name, text in r.user_properties if name == FIGURE]
    if lines:
        terminalreporter.section(f"chaos, seed {SEED}")
        for line in sorted(lines):
            terminalreporter.write_line(line)
